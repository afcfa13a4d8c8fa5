"""What a flow is: a pure step function with a key, a state type and a time policy.

    def count(state: Count, event: Event) -> tuple[Count, list[Effect]]: ...

    parts = Flow(name="parts", inputs=(Input("acme/**:barrier"),), step=count, initial=Count, state_type=Count)

A step sees one event and the state of its key, and returns the new state and what is to be said. It does no I/O, reads
no clock and draws no random number: the runtime may run it again after a crash and relies on getting the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from millstream.kernel import ConfigError
from millstream.model import GOOD, Quality
from millstream.protocols.contract_schema import check_schema
from millstream.protocols.uns_pattern import KINDS, Pattern, contract_of
from millstream.protocols.uns_subject import UnsAddress

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

S = TypeVar("S")

SECOND_NS = 1_000_000_000
STATE_BYTES_MAX = 256 * 1024  # of one key, encoded
KEYS_MAX = 5_000_000  # of one partition
OUTPUTS_MAX = 400  # of one call of a step
TIMERS_MAX = 64  # of one key
PARTITIONS_MAX = 256
COMMAND_S_MAX = 3600.0
_COMMAND = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_FLOW_WITH_COMMANDS = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")


class Pieces(Protocol):
    """What a step asks for pieces of its key's state."""

    def get(self, name: str) -> Any:
        """One piece, None when there is none. A step that changes it puts it."""
        ...

    def put(self, name: str, piece: Any) -> None:
        """Keep it with the state; None: drop it."""
        ...


class Event(msgspec.Struct, frozen=True, gc=False):
    """One input of a step: a sample, an event of the plant, or a timer of this key.

    `time_ns` is event time (UTC): when it happened at the source, for a timer the time it was set to. `is_late` says
    that the key's watermark has passed this time already. `source` is where the sample comes from
    (``acme/plant1/press:barrier``); `kind` is its contract without underscore, or "timer"; `timer` its name.
    For the kinds "event" and "alarm" `value` is the data and `type` the CloudEvents type. `pieces` are those of the
    key's state, when the flow has a `piece_type`.
    """

    key: str
    kind: str
    time_ns: int
    value: Any = None
    quality: Quality = GOOD
    source: str = ""
    is_late: bool = False
    timer: str = ""
    type: str = ""
    unit: str | None = None
    pieces: Pieces | None = None

    @property
    def is_timer(self) -> bool:
        """True when a timer of this key is due."""
        return self.kind == "timer"


class Emit(msgspec.Struct, frozen=True, gc=False):
    """A sample to store under `path` (``acme/plant1/press:parts``) in the contract `kind`. Time UTC ns.

    A `revision` above 0 says that this corrects what was stored for the same path and time; the header `Ms-Revision`
    carries it. The history keeps all and gives the one stored last, which has the highest revision.
    """

    path: str
    value: Any
    time_ns: int
    kind: str = "count"
    quality: Quality = GOOD
    unit: str | None = None
    revision: int = 0


class EmitEvent(msgspec.Struct, frozen=True, gc=False):
    """A CloudEvent to store under `path` (``acme/plant1/press:stopped``): type, JSON data, time UTC ns."""

    path: str
    type: str
    data: Any
    time_ns: int
    kind: str = "event"


class SetTimer(msgspec.Struct, frozen=True, gc=False):
    """Wake this key at event time `at_ns`; a timer of the same name is moved."""

    name: str
    at_ns: int


class CancelTimer(msgspec.Struct, frozen=True, gc=False):
    """Forget the timer of this key."""

    name: str


class Refuse(msgspec.Struct, frozen=True, gc=False):
    """Put an input into quarantine with the reason, and keep the new state. (A step that raises keeps the old one.)"""

    event: Event
    reason: Exception | str


Effect = Emit | EmitEvent | SetTimer | CancelTimer | Refuse
Step = Callable[[S, Event], tuple[S | None, Sequence[Effect]]]


@dataclass(frozen=True, slots=True)
class Run:
    """Samples of one tag behind one another, as arrays of shape (n,): times (UTC ns) that never go back, numbers,
    qualities (uint32; None: all good). None of them is late."""

    key: str
    source: str
    time_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.generic]
    quality: npt.NDArray[np.uint32] | None = None
    unit: str | None = None


Absorb = Callable[[S, Run], int]


@dataclass(frozen=True, slots=True)
class Input:
    """What a flow reads: a path or pattern (``acme/*/press*:barrier``) of one kind of data."""

    pattern: str
    kind: str = "tag"

    def filter(self) -> str:
        """The narrowest NATS filter. Raises DecodeError."""
        return Pattern.parse(self.pattern).subject_filter(contract_of(self.kind))


class Call(msgspec.Struct, frozen=True, gc=False):
    """A command to a flow: its `id`, who asks, the arguments without `path`, the key whose state it is given, the path
    that was named, when it was stored (UTC ns), and the pieces of the state, if the flow has a `piece_type`."""

    id: str
    who: str
    args: dict[str, Any]
    key: str
    path: str
    time_ns: int
    pieces: Pieces | None = None


Handler = Callable[[S, Call], tuple[S | None, Sequence[Effect], Any]]


@dataclass(frozen=True, slots=True)
class FlowCommand(Generic[S]):
    """What people may tell a flow to do, at an edge: ``millstream command send <flow>.<name> --arg path=...``.

    `run` is as pure as a step: it takes the state of the key that the path leads to and the call, and returns the new
    state, what is to be said, and the result, JSON for who asked. It takes its turn among the flow's inputs, and has
    its effect once. When it raises, nothing has changed, and the command has failed. `schema` is the JSON Schema of its
    arguments, an object without `path`. `time_limit_s` is how long the answer is waited for.
    """

    name: str
    description: str
    run: Handler[S]
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "additionalProperties": False})
    time_limit_s: float = 60.0

    def __post_init__(self) -> None:
        if not _COMMAND.match(self.name):
            raise ConfigError("not a name of a command", expected="a-z, 0-9 and _", got=repr(self.name))
        troubles = check_schema(self.schema)
        if troubles or self.schema.get("type") != "object" or "path" in self.schema.get("properties", {}):
            got = "; ".join(why for _, why in troubles)[:200] or "no object, or one with a path of its own"
            raise ConfigError("a command's schema is wrong", where=self.name, got=got, code="MS-2310")
        if not 0 < self.time_limit_s <= COMMAND_S_MAX:
            raise ConfigError("a command's time limit", where=self.name, expected=f"up to {COMMAND_S_MAX:g} s")


@dataclass(frozen=True, slots=True)
class TimePolicy:
    """How time passes. The watermark of a key is the newest time of its events less `lateness_ns`: what is older comes
    flagged as late. When a key falls silent its timers fire `idle_ns` behind the arrival clock; None: only its own
    events move its time (for recordings and other old data)."""

    lateness_ns: int = 0
    idle_ns: int | None = 5 * SECOND_NS

    def __post_init__(self) -> None:
        if self.lateness_ns < 0 or (self.idle_ns is not None and self.idle_ns < 0):
            raise ConfigError("a time policy has a negative duration", got=repr(self))


def key_of_asset(address: UnsAddress) -> str:
    """The usual key: the equipment a tag belongs to."""
    return str(address.asset)


def key_of_tag(address: UnsAddress) -> str:
    """One state a tag."""
    return str(address.tag)


@dataclass(frozen=True, slots=True)
class Flow(Generic[S]):
    """A declared flow. A step that returns None as state forgets the key.

    `key` gives the key from the subject, and the key decides the partition. `regroup`, when given, takes a second look
    with the value (an order number, a serial number); every partition then has to decode every message. `outputs` are
    the kinds it may emit. `state_type` is anything msgspec can encode: a Struct, a dataclass, a dict, an int;
    so is `piece_type`, when the state has pieces beside it (see `_pieces`). `commands` are what people may tell it.

    `absorb`, when given, takes samples of a block from the front, as many as `step` would take without any effect,
    changes the state in place as `step` would, and says how many. The next one comes to `step`; so does each sample
    of a key with timers, and of a flow with `regroup` or `piece_type`.
    """

    name: str
    inputs: tuple[Input, ...]
    step: Step[S]
    initial: Callable[[], S]
    state_type: Any
    key: Callable[[UnsAddress], str] = key_of_asset
    regroup: Callable[[Event], str] | None = None
    outputs: tuple[str, ...] = ("count",)
    time: TimePolicy = field(default_factory=TimePolicy)
    version: int = 1
    description: str = ""
    piece_type: Any = None
    absorb: Absorb[S] | None = None
    commands: tuple[FlowCommand[S], ...] = ()

    def __post_init__(self) -> None:
        if not self.name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in self.name):
            raise ConfigError("not a name of a flow", expected="letters, digits, - and _", got=repr(self.name))
        if not self.inputs:
            raise ConfigError("a flow without inputs", where=self.name)
        if self.commands and (self.regroup is not None or not _FLOW_WITH_COMMANDS.match(self.name)):
            raise ConfigError(
                "a flow with commands", where=self.name, expected="a name of a-z, 0-9 and _, and no regroup"
            )  # fmt: skip
        for kind in (*self.outputs, *(i.kind for i in self.inputs)):
            if kind not in KINDS:
                raise ConfigError("unknown kind of data", where=self.name, expected=", ".join(KINDS), got=repr(kind))

    @property
    def can_absorb(self) -> bool:
        """Blocks may be taken by `absorb`."""
        return self.absorb is not None and self.regroup is None and self.piece_type is None

    def filters(self) -> list[str]:
        """NATS filters of the inputs, without those that another covers."""
        found = list(dict.fromkeys(i.filter() for i in self.inputs))
        return [f for f in found if not any(f != other and covers(other, f) for other in found)]


def covers(wide: str, narrow: str) -> bool:
    """True when filter `wide` matches all that `narrow` matches."""
    have, want = narrow.split("."), wide.split(".")
    for index, part in enumerate(want):
        if part == ">":
            return len(have) > index
        if index >= len(have) or have[index] == ">" or part not in ("*", have[index]):
            return False
    return len(have) == len(want)


def overlaps(one: str, other: str) -> bool:
    """True when some subject matches both filters."""
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if a == ">" or b == ">":
            return True
        if a != b and a != "*" and b != "*":
            return False
    return one.count(".") == other.count(".")

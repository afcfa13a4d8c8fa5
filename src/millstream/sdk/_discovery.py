"""How a connector takes part in `millstream discover`: it knows one harmless question and reads the answer.

The runtime decides who is asked (only what a person wrote down), how often and for how long. A connector class that is
`Discoverable` asks one place; it waits for its turn before each thing that it sends, and says what that is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from millstream.kernel import Clock


@dataclass(frozen=True, slots=True)
class DiscoveryInfo:
    """What is asked, for people. `port` is the protocol's registered one: only a hint, it is never tried unasked.

    `units` is the first and last number that devices behind one address have; None where a place is one device.
    """

    question: str
    port: int
    units: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask: a port of a host, and which units behind it. `units` is empty where there are none."""

    host: str
    port: int
    units: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Discovered:
    """One device that answered. `config` is what stands under ``config:`` of a connector entry that reaches it."""

    where: str
    name: str
    config: Mapping[str, Any]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiscoveryTools:
    """What the runtime gives. `turn` is awaited with a short name before each connection and each request."""

    turn: Callable[[str], Awaitable[None]]
    timeout_s: float
    clock: Clock


@runtime_checkable
class Discoverable(Protocol):
    """A connector class that finds devices. Not a session's capability: there is no configuration yet."""

    discovery: ClassVar[DiscoveryInfo]

    @classmethod
    async def discover(cls, place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
        """The devices at `place`. Asks what `discovery` says, nothing else; never writes, never logs in.

        Raises Unreachable when nothing answers, another PlantError when what answers is no such device. Leaves nothing
        open.
        """
        ...

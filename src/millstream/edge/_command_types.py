"""The commands that an edge knows: those built in, and those that installed packages offer.

A foreign command runs in the node's process, within its time limit, as asynchronous code of an installed package; the
edge's administrator chose to install it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from millstream.kernel import Clock, ConfigError, DecodeError, NotFoundError, PlantError, suggest
from millstream.protocols.command import Command
from millstream.protocols.contract_schema import Validator, check_schema
from millstream.sdk import CommandContext, CommandType, Log, Message, Progress

GROUP = "millstream.commands"
TIME_LIMIT_S_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `result` is JSON for who asked."""

    state: Literal["done", "failed", "refused", "unknown", "cancelled"]
    code: str | None = None
    reason: str | None = None
    result: Any = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A command that may begin now. `events` gives what is stored beside its own: before it begins (None), and when it
    has ended."""

    run: Callable[[], Coroutine[Any, Any, Outcome]]
    time_limit_s: float
    events: Callable[[Outcome | None], list[Message]] = lambda _: []


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A command of the edge itself: `admit` checks against the edge as it is and raises PlantError. `resume`: for one
    that had begun when the edge ended, and that knows how it went: it says so, and begins nothing again."""

    description: str
    schema: Mapping[str, Any]
    admit: Callable[[Command, CommandContext], Admitted]
    is_cancellable: bool = False
    resume: Callable[[Command, CommandContext], Admitted] | None = None


class CommandsOfFlows(Protocol):
    """What flows offer, under ``<flow>.<command>``."""

    def offered(self) -> Mapping[str, BuiltIn]:
        """By type, as of now."""
        ...

    def is_awaited(self, type: str) -> bool:
        """Whether the flow that may offer this has not said yet what it offers."""
        ...

    def resume(self, command: Command, context: CommandContext) -> Admitted:
        """See `BuiltIn.resume`, also while the flow is not there."""
        ...


class CommandTypes:
    """All that this edge can be told to do, by name."""

    def __init__(
        self, built_in: Mapping[str, BuiltIn], node: str, data_dir: Path, *, clock: Clock, log: Log,
        foreign: Mapping[str, CommandType] | None = None, flows: CommandsOfFlows | None = None,
    ) -> None:  # fmt: skip
        """`foreign` None: those of installed packages. `flows` come and go while the edge runs. Raises ConfigError for
        one that is none."""
        self._flows = flows
        self._built_in = dict(built_in)
        self._foreign = dict(_installed() if foreign is None else foreign)
        self._node = node
        self._data_dir = data_dir
        self._clock = clock
        self._log = log
        self._checks: dict[str, Validator] = {}
        for name in (*self._foreign, *self._built_in):
            self._checks[name] = _compiled(name, self._find(name).schema)

    def names(self) -> list[str]:
        """What may be asked for."""
        return sorted({*self._checks, *self._of_flows()})

    def _of_flows(self) -> Mapping[str, BuiltIn]:
        return {} if self._flows is None else self._flows.offered()

    def listed(self) -> dict[str, Any]:
        """By type, with what a person needs to ask for it."""
        found = {name: self._find(name) for name in self.names()}
        return {name: {"description": each.description, "schema": dict(each.schema)} for name, each in found.items()}

    def _find(self, name: str) -> BuiltIn | CommandType:
        found = self._built_in.get(name) or self._foreign.get(name) or self._of_flows().get(name)
        if found is None:
            near = suggest(name, self.names())
            raise NotFoundError(
                "this node knows no such command", got=name, expected=", ".join(self.names()),
                next_step=f"did you mean {near!r}?" if near else None, code="MS-2303",
            )  # fmt: skip
        return found

    def is_cancellable(self, name: str) -> bool:
        """Whether one that runs may be cancelled."""
        return self._find(name).is_cancellable

    def is_awaited(self, name: str) -> bool:
        """Whether this is not known yet and may be soon: the flow that would offer it is starting."""
        return name not in self._checks and self._flows is not None and self._flows.is_awaited(name)

    def check(self, command: Command) -> None:
        """Raises NotFoundError (MS-2303) for an unknown type, DecodeError (MS-2304) for wrong arguments."""
        found = self._find(command.type)
        check = self._checks.get(command.type) or Validator(found.schema)
        reason = check.reason(command.args)
        if reason is not None:
            raise DecodeError(f"wrong arguments of {command.type}: {reason[0]}", code="MS-2304")

    def context(self, command: Command, progress: Progress) -> CommandContext:
        """What the command's code gets."""
        return CommandContext(command.id, command.who, self._node, self._data_dir, progress, self._clock, self._log)

    def admit(self, command: Command, context: CommandContext) -> Admitted:
        """Check once more right before it begins. Raises PlantError."""
        self.check(command)
        type = self._find(command.type)
        if isinstance(type, BuiltIn):
            admitted = type.admit(command, context)
            return replace(admitted, run=partial(_run_built_in, admitted.run))
        return Admitted(lambda: _run_foreign(type, command, context), min(type.time_limit_s, TIME_LIMIT_S_MAX))

    def resumed(self, command: Command, context: CommandContext) -> Admitted | None:
        """How one goes on that had begun when the edge ended; None: nobody knows what became of it."""
        type, resume = self._built_in.get(command.type), None
        if type is not None:
            resume = type.resume
        elif self._flows is not None and "." in command.type and command.type not in self._foreign:
            resume = self._flows.resume
        if resume is None:
            return None
        admitted = resume(command, context)
        return replace(admitted, run=partial(_run_built_in, admitted.run))


async def _run_built_in(run: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
    try:
        return await run()
    except PlantError as error:
        return Outcome("failed", error.code, str(error).removesuffix(f" [{error.code}]")[:400])
    except Exception as error:  # noqa: BLE001 - a bug in one command is told to who asked, and must not end the others
        return Outcome("unknown", "MS-2305", f"its code failed: {type_name(error)}: {error}"[:400])


async def _run_foreign(type: CommandType, command: Command, context: CommandContext) -> Outcome:
    try:
        result = await type.run(command.args, context)
        msgspec.json.encode(result)
    except PlantError as error:
        return Outcome("failed", error.code, str(error).removesuffix(f" [{error.code}]")[:400])
    except Exception as error:  # noqa: BLE001 - foreign code: its bug is told to who asked, and must not end the node
        return Outcome("unknown", "MS-2305", f"its code failed: {type_name(error)}: {error}"[:400])
    return Outcome("done", result=result)


def type_name(error: BaseException) -> str:
    """The name of an error's class."""
    return type(error).__name__


def _compiled(name: str, schema: Mapping[str, Any]) -> Validator:
    troubles = check_schema(schema)
    if troubles or schema.get("type") != "object":
        got = "; ".join(why for _, why in troubles)[:200] or "arguments that are no object"
        raise ConfigError("a command's schema is wrong", where=name, got=got, code="MS-2310")
    return Validator(schema)


def _installed() -> Mapping[str, CommandType]:
    """The commands of installed packages. Raises ConfigError for one that cannot be loaded."""
    found: dict[str, CommandType] = {}
    for entry in entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()()
        except (ImportError, AttributeError, TypeError, PlantError) as error:
            raise ConfigError(
                f"command '{entry.name}' cannot be loaded: {error}", where=entry.value, code="MS-2310",
                next_step="correct or remove the package that offers it",
            ) from error  # fmt: skip
    return found

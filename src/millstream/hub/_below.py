"""What people ask below a path, given to who answers it: the server lets each ask below its own paths, so the subject
says what there is for the one who asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec

from millstream.archive import NodeRequests
from millstream.bus import RawConnection
from millstream.historian import Reply, RequestHandler
from millstream.hub._command_file import CommandFiles
from millstream.hub._command_service import CHANGING, TELLING, CommandService
from millstream.hub._config_desk import ConfigDesk
from millstream.hub._desk import Asker, DeskAround
from millstream.hub._desk import below as answered_below
from millstream.hub._fleet import FleetDesk
from millstream.hub._fleet_answers import EdgeAnswers
from millstream.hub._fleet_data import FleetData
from millstream.hub._module_desk import ModuleDesk
from millstream.hub._rollout_desk import RolloutDesk
from millstream.kernel import DecodeError
from millstream.protocols.below import (
    COMMAND,
    COMMAND_FILE,
    COMMANDS,
    CONFIG,
    FLEET,
    FLEET_DATA,
    MODULE,
    ROLLOUT,
    asked_below,
    below_subject,
    sites_below,
)

HandlerBelow = Callable[[Asker], RequestHandler]


@dataclass(frozen=True, slots=True)
class BelowDesks:
    """Who answers what."""

    around: DeskAround
    answers: EdgeAnswers
    fleet: FleetDesk
    commands: CommandService

    @property
    def connection(self) -> RawConnection:
        """The plant's."""
        return self.around.connection

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Answer while the scope is open."""
        modules = ModuleDesk(self.around)
        await modules.open()
        async with AsyncExitStack() as stack:
            for what, handler in self._handlers(modules).items():
                serving = NodeRequests(self.connection).serve_each(below_subject(what, ">"), chooser(what, handler))
                await stack.enter_async_context(serving)
            yield

    def _handlers(self, modules: ModuleDesk) -> Mapping[str, HandlerBelow]:
        answers = {
            CONFIG: ConfigDesk(self.around).answer, ROLLOUT: RolloutDesk(self.around).answer, MODULE: modules.answer,
        }  # fmt: skip
        return {
            **{what: answered_below(self.around, what, answer) for what, answer in answers.items()},
            FLEET: lambda asker: self.fleet.below(asker.root),
            FLEET_DATA: lambda asker: (
                FleetData(self.connection, self.answers, self._bounded(asker), clock=self.around.clock).answer
            ),
            COMMANDS: lambda asker: self.commands.below(asker.root).answering(TELLING),
            COMMAND: lambda asker: self.commands.below(asker.root).answering(CHANGING, asker.origin),
            COMMAND_FILE: lambda asker: CommandFiles(self.connection, self.answers, self._bounded(asker)).answer,
        }

    def _bounded(self, asker: Asker) -> Callable[[], Mapping[str, str]]:
        return lambda: sites_below(self.around.places(), asker.root)


def chooser(what: str, handler: HandlerBelow) -> Callable[[str, str], RequestHandler]:
    """Who answers what was asked on a subject; for one that bears no path there is nothing."""

    def choose(subject: str, origin: str) -> RequestHandler:
        """By the path that stands in it."""
        try:
            return handler(Asker(asked_below(what, subject), origin))
        except DecodeError as error:
            told = {"error": error.as_dict()}
            return lambda _: _refusal(told)

    return choose


async def _refusal(told: Mapping[str, Mapping[str, object]]) -> AsyncGenerator[Reply, None]:
    error = msgspec.json.encode(told["error"]).decode()
    yield Reply(msgspec.json.encode(told), (("Ms-Error", error), ("Ms-Status", "done")))

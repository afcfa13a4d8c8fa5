"""What an update needs of the edge that it happens to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from millstream.bus import StreamApi
from millstream.config import EdgeConfig
from millstream.edge._command_events import event_message
from millstream.edge._command_types import Outcome
from millstream.edge._config_keeper import ConfigKeeper
from millstream.edge._forward import EdgeForward
from millstream.edge._modules import Prove
from millstream.edge._works import Works
from millstream.kernel import Clock
from millstream.protocols.audit import act_data
from millstream.protocols.command import Command
from millstream.release import Launched
from millstream.sdk import Message

AUDIT_TYPE = "millstream.audit.update.refused"
AUDITED = ("MS-2441", "MS-2443", "MS-2450")  # somebody may be at work who should not
LINKED = ("flowing", "idle", "behind")


@dataclass(frozen=True, slots=True)
class UpdateGround:
    """Where an update happens. `launched` None: this edge was not started so that it could be. `hub` None: there is
    none."""

    config: EdgeConfig
    launched: Launched | None
    hub: StreamApi | None
    keeper: ConfigKeeper

    @property
    def data_dir(self) -> Path:
        """Of the edge."""
        return self.config.edge.data_dir

    async def vouch(self, hub: StreamApi) -> Prove:
        """What proves a manifest, by what the hub says now of who may sign. Raises Unreachable."""
        return await self.keeper.vouch(hub)

    def audit(self, command: Command, clock: Clock, outcome: Outcome | None) -> list[Message]:
        """What is stored beside the end of a command whose release was refused, since it may be an attack."""
        if outcome is None or outcome.code not in AUDITED:
            return []
        runs = None if self.launched is None else self.launched.as_facts()
        data = act_data(
            command.who, "", runs, runs, edge=self.config.edge.name, package=command.args.get("package"),
            code=outcome.code, reason=outcome.reason,
        )  # fmt: skip
        return [event_message(self.config.path, AUDIT_TYPE, f"{command.id}/audit", data, clock.now_ns(), command.id)]


@dataclass(frozen=True, slots=True)
class NodeToUpdate:
    """The running node, as much of it as an update looks at. `restart` stops it in order, and then the process becomes
    what is chosen."""

    works: Works
    keeper: ConfigKeeper
    forward: Callable[[], EdgeForward | None]
    restart: Callable[[], None]

    def up(self) -> tuple[str, ...]:
        """What works now: connectors, and flows as ``flow <name>``."""
        return self.works.up()

    def ailing(self, must_be_up: tuple[str, ...]) -> str | None:
        """Why one of these does not work; None: they do."""
        config = self.works.config
        names = [entry.name for entry in config.connectors] + [f"flow {flow.name}" for flow in config.flows]
        return self.works.ailing(must_be_up, [name for name in names if name not in must_be_up])

    def is_linked(self) -> bool:
        """Whether the hub is reached."""
        forward = self.forward()
        return forward is not None and forward.uplink.state in LINKED

    def unsettled(self) -> str | None:
        """Why this is no moment to change the version; None: it is one."""
        phase = self.keeper.state.phase
        return None if phase == "settled" else f"a configuration from the hub is {phase}"

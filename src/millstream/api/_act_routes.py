"""All routes of what people do, and their part of the OpenAPI description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.api._acts import ACT_PATHS as ALARM_PATHS
from millstream.api._acts import Acts
from millstream.api._command_acts import COMMAND_ROUTES, CommandActs
from millstream.api._config_acts import CONFIG_PATHS, ConfigActs
from millstream.api._letters import LETTER_PATHS, Letters
from millstream.api._machine_acts import MACHINE_PATHS, MachineActs
from millstream.api._rollout_acts import ROLLOUT_PATHS, RolloutActs
from millstream.api._twin_looks import TWIN_PATHS, TwinLooks

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from millstream.api._desk import ActDesk

ACT_PATHS: dict[str, Any] = {
    **ALARM_PATHS, **LETTER_PATHS, **MACHINE_PATHS, **COMMAND_ROUTES, **CONFIG_PATHS, **ROLLOUT_PATHS, **TWIN_PATHS,
}  # fmt: skip


def act_routes(desk: ActDesk) -> list[BaseRoute]:
    """Behind one desk."""
    kinds = (Acts, Letters, MachineActs, CommandActs, ConfigActs, RolloutActs, TwinLooks)
    return [route for kind in kinds for route in kind(desk).routes()]

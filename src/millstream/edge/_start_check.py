"""Would this version start with what is there? Asked before another version is switched to; it changes nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from millstream.config import EdgeConfig, InstalledConnectors
from millstream.edge._config_keeper import ConfigKeeper
from millstream.edge._log import LineLog
from millstream.edge._works import Works
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import PlantError, SystemClock
from millstream.release import check_data


async def check_start(config: EdgeConfig, folder: Path) -> list[str]:
    """What keeps an edge of this file from starting; `folder` is that of the file. Raises nothing of ours."""
    clock, types = SystemClock(), InstalledConnectors()
    try:
        check_data(config.edge.data_dir)
        log = LineLog(config.edge.name, lambda *_, **__: None)
        keeper = ConfigKeeper(config, folder, connectors=types, flows=FLOW_TYPES, clock=clock, log=log)
        runs = config if config.cluster is not None else await keeper.peek()
        Works(runs, types, clock=clock, sink=lambda *_, **__: None).check(runs)
        if runs.flows:
            import_module("millstream.worker.__main__")
        if config.historian is not None:
            import_module("duckdb")
    except PlantError as error:
        return [str(error)]
    except ImportError as error:
        return [f"a package is missing: {error}"]
    return []

"""The history that a member keeps while another one leads, and where history lies at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from millstream.bus import RawConnection
from millstream.config import HubConfig
from millstream.historian import HistorianService
from millstream.hub._plant import hub_historian
from millstream.kernel import Clock, NotFoundError, PlantError
from millstream.sdk import Log

RETRY_S = 1.0


async def standing_history(
    config: HubConfig, connection: RawConnection, tenant: str | None, *, clock: Clock, log: Log,
    on_change: Callable[[HistorianService | None], None] = lambda _: None,
) -> None:  # fmt: skip
    """Keep it until cancelled; `on_change` hears when it is up and when it is not. Nothing to do without a history, or
    with one on a server, which has one writer."""
    if config.historian is None or config.historian.engine is not None:
        await asyncio.Event().wait()
        return
    folder = history_dir(config, tenant)
    while True:
        try:
            async with hub_historian(config, connection, folder, tenant=tenant, clock=clock, log=log) as historian:
                on_change(historian)
                await asyncio.Event().wait()
        except NotFoundError:
            pass  # the first to lead is making the streams
        except PlantError as error:
            log.warning("history waits", error=str(error))
        finally:
            on_change(None)
        await clock.sleep(RETRY_S)


def history_dir(config: HubConfig, tenant: str | None = None) -> Path:
    """Where the history lies: a tenant's below the folder of all."""
    folder = Path(config.hub.data_dir) / "historian"
    if config.historian is not None and config.historian.dir is not None:
        folder = Path(config.historian.dir)
    return folder if tenant is None else folder / tenant

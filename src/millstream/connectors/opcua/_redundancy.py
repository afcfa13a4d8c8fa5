"""Which server of a redundant set is followed: the one that says it is the best (OPC 10000-4, 6.6.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from millstream.connectors.opcua._config import OpcUaConfig
from millstream.connectors.opcua._link import Link
from millstream.kernel import PlantError, Unreachable
from millstream.sdk import ConnectorTools


async def open_best(config: OpcUaConfig, tools: ConnectorTools) -> Link:
    """An open link to the server with the highest ServiceLevel, the first of several; the others are closed again.

    Raises what the servers answered when none of them lets us in: Unreachable if one may do so later.
    """
    links = [Link(config, tools, endpoint) for endpoint in (config.endpoint, *config.endpoints)]
    if len(links) == 1:
        await links[0].open()
        return links[0]
    best: Link | None = None
    try:
        async with asyncio.TaskGroup() as group:
            attempts = [group.create_task(_attempt(link)) for link in links]
        errors = [attempt.result() for attempt in attempts]
        best = choose([link if error is None else None for link, error in zip(links, errors, strict=True)])
    finally:
        await asyncio.gather(*(link.close() for link in links if link is not best))
    found = [error for error in errors if error is not None]
    if best is None:
        raise next((error for error in found if isinstance(error, Unreachable)), found[0])
    for error in found:
        tools.log.warning("opcua_redundant_server_away", reason=str(error))
    tools.log.info("opcua_server_chosen", endpoint=best.where, service_level=best.service_level)
    return best


def choose(links: Sequence[Link | None]) -> Link | None:
    """The one with the highest level, the first of several; None stands for a server that is away."""
    return max((link for link in links if link is not None), key=lambda link: link.service_level, default=None)


async def _attempt(link: Link) -> PlantError | None:
    try:
        await link.open()
    except PlantError as error:
        return error
    return None

"""A backup of a hub with tenants: one for each of them, one of who runs the hub, and last a list of these."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import millstream
from millstream.bus import RawConnection
from millstream.hub._backup import HistoryAsk, Say, back_up
from millstream.hub._backup_manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    PartEntry,
    file_sha256,
    save_manifest,
)
from millstream.kernel import Clock, PlantError
from millstream.protocols.cloudevents import format_time

PROVIDER_PART = "provider"
Connect = Callable[[str], AbstractAsyncContextManager[RawConnection]]
"""From a tenant's name, or the provider's, to the hub's own connection to that account."""


def part_folder(name: str, *, is_tenant: bool) -> str:
    """Where a part lies in the backup."""
    return f"tenants/{name}" if is_tenant else PROVIDER_PART


async def back_up_tenants(
    connect: Connect, tenants: Sequence[str], folder: Path, *, hub: str, clock: Clock, say: Say,
    history: HistoryAsk | None = None,
) -> Manifest:  # fmt: skip
    """Write all that the hub has of `tenants`, and of who runs it, below `folder`. Raises PlantError; then the folder
    is no backup."""
    if folder.exists() and any(folder.iterdir()):
        raise PlantError(
            "the folder is not empty", where=str(folder), next_step="give a folder that does not exist", code="MS-2620"
        )
    parts = []
    for name, is_tenant in ((PROVIDER_PART, False), *((name, True) for name in sorted(tenants))):
        place = part_folder(name, is_tenant=is_tenant)
        asked = _asked(history, place) if is_tenant else None
        say(f"-- {name}")
        async with connect(name) as connection:
            await back_up(connection, folder / place, hub=hub, clock=clock, say=say, history=asked)
        digest = await asyncio.to_thread(file_sha256, folder / place / MANIFEST)
        parts.append(PartEntry(name, place, digest, is_tenant))
    manifest = Manifest(FORMAT, hub, millstream.__version__, format_time(clock.now_ns()), (), parts=tuple(parts))
    await asyncio.to_thread(save_manifest, folder, manifest)
    return manifest


def _asked(history: HistoryAsk | None, place: str) -> HistoryAsk | None:
    """The same, of one tenant."""
    if history is None or history.before is None:
        return history
    return replace(history, before=history.before / place)

"""What the composition root gives to store and forward, and the streams that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from millstream.bus import StreamBounds
from millstream.model import AssetPath

CHECK_INTERVAL_S = 1.0
HANG_S = 15.0  # a little above two missed pings, which the server sees by itself


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """What the composition root takes from the edge's configuration. `path` is the site's place; None bounds: no such
    stream. `room_bytes`: what the disk can give to all streams together (None: not checked)."""

    edge: str
    path: AssetPath
    data_dir: Path
    integrity: StreamBounds
    throughput: StreamBounds | None = None
    site: StreamBounds | None = None
    flow: StreamBounds | None = None
    has_mqtt: bool = False
    has_uplink: bool = False
    room_bytes: int | None = None
    boot_wait_s: float = 3.0
    hang_s: float = HANG_S
    check_interval_s: float = CHECK_INTERVAL_S


@dataclass(frozen=True, slots=True)
class EdgeStreams:
    """The names to write to, with their generation. A new generation changes them at a start, never while running."""

    integrity: str
    throughput: str | None
    mqtt: str | None
    deadletter: str
    flow: str | None = None
    site: str | None = None

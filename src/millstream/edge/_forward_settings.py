"""What the composition root gives to store and forward, and the streams that come of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from millstream.bus import StreamBounds, fit_bounds
from millstream.model import AssetPath

CHECK_INTERVAL_S = 1.0
MQTT_BYTES_MAX = 256 << 20
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

    def fitted(self) -> tuple[dict[str, StreamBounds], str | None]:
        """The bounds of each kind of stream that is wanted, made smaller where the disk has not the room for all of
        them, and then what to tell of that."""
        asked = {"I": self.integrity, "T": self.throughput, "S": self.site, "F": self.flow}
        wanted = {kind: bounds for kind, bounds in asked.items() if bounds is not None}
        if self.has_mqtt:
            wanted["MQTT"] = StreamBounds(min(MQTT_BYTES_MAX, self.integrity.max_bytes))
        if self.room_bytes is None:
            return wanted, None
        sizes = fit_bounds({kind: bounds.max_bytes for kind, bounds in wanted.items()}, self.room_bytes)
        lack = None
        if any(sizes[kind] < bounds.max_bytes for kind, bounds in wanted.items()):
            text = ", ".join(f"{kind} {size >> 20} MiB" for kind, size in sizes.items())
            lack = f"the disk has room for {self.room_bytes >> 20} MiB of streams: {text}"
        return {kind: replace(bounds, max_bytes=sizes[kind]) for kind, bounds in wanted.items()}, lack


@dataclass(frozen=True, slots=True)
class EdgeStreams:
    """The names to write to, with their generation. A new generation changes them at a start, never while running."""

    integrity: str
    throughput: str | None
    mqtt: str | None
    deadletter: str
    flow: str | None = None
    site: str | None = None

"""Clocks that jump back, at a device and at the edge itself: kept, flagged, counted, in order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from asyncua import ua
from bad_devices import site_with_devices
from bad_site import running_site, until

from millstream.kernel import SystemClock

HOUR_NS = 3_600_000_000_000


async def test_a_device_clock_that_jumps_back_is_kept_and_flagged(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    times = [noon.replace(minute=minute) for minute in (30, 10, 20)]
    async with site_with_devices(tmp_path) as (site, devices):
        for number, time in enumerate(times, start=1):
            await devices.write("odd", float(number), ua.VariantType.Double, time.replace(tzinfo=None))
            devices.shdr.send(f"{time:%Y-%m-%dT%H:%M:%SZ}|odd|{number}\n".encode())
            await devices.publish("odd", f'{{"v": {number}, "t": {int(time.timestamp()) * 10**9}}}'.encode())
            await devices.say_good(site, number + 1)
        found = await site.samples()
        for name in ("shdr", "mqtt", "opcua"):
            # A sample of the link itself (at its start, or when it was slow) has the present time, so what follows it
            # is flagged too.
            stored = [s for s in found[f"{name}:odd"] if s.value is not None]
            assert [(s.value, s.time_ns) for s in stored] == [
                (float(number), int(time.timestamp()) * 10**9) for number, time in enumerate(times, start=1)
            ]
            assert stored[1].clock == "backward", name
            assert site.connector(name)["clock_flags"] == sum(s.clock == "backward" for s in found[f"{name}:odd"]) >= 1
        assert site.alarms() == []


class JumpingClock(SystemClock):
    """The machine's clock, which somebody sets."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def now_ns(self) -> int:
        """UTC, as wrong as it was set."""
        return super().now_ns() + self.offset_ns


async def test_an_edge_whose_own_clock_jumps_back_loses_and_doubles_nothing(tmp_path: Path) -> None:
    clock = JumpingClock()
    async with running_site(tmp_path, "", clock=clock) as site:
        for number, offset_ns in enumerate((-HOUR_NS, HOUR_NS, 0), start=1):
            at = site.connector("witness")["samples_stored"]
            await until(lambda at=at: site.connector("witness")["samples_stored"] > at, f"samples before jump {number}")
            clock.offset_ns = offset_ns
        assert site.alarms() == []

"""By which times a history knows restored streams: a server that has just made one of several replicas is not asked."""

from __future__ import annotations

import json

import pytest

from millstream.bus import RawConnection
from millstream.hub._backup_history import hand_over_leads, times_made
from millstream.kernel import SystemClock, Unreachable
from millstream.protocols.nats_wire import WireMessage

ASSIGNED, OWN = "2026-01-01T00:00:01.5Z", "2026-01-01T00:00:02Z"


class SteppedClock(SystemClock):
    """Sleeping takes no time, and moves it."""

    def __init__(self) -> None:
        self._now_ns = 0

    def monotonic_ns(self) -> int:
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        self._now_ns += int(seconds * 1e9)


class Servers(RawConnection):
    """Three of them; "a" has made the stream. Each step down but the first lets another lead."""

    def __init__(self, *, is_alone: bool = False) -> None:
        super().__init__("nats://nowhere:1", replicas=3)
        self.leader, self.asked_count, self.is_alone = "a", 0, is_alone

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> WireMessage:
        if "H_INTEGRITY" not in subject:
            return _answer({"error": {"code": 404, "err_code": 10059, "description": "stream not found"}})
        if "STEPDOWN" in subject:
            self.asked_count += 1
            if self.asked_count == 1:
                raise Unreachable("no answer in time", where=subject)
            self.leader = "a" if self.is_alone else "b"
            return _answer({"success": True})
        return _answer({
            "config": {"name": "H_INTEGRITY"}, "created": OWN if self.leader == "a" else ASSIGNED, "ts": ASSIGNED,
            "state": {"messages": 0, "bytes": 0, "first_seq": 0, "last_seq": 0}, "cluster": {"leader": self.leader},
        })  # fmt: skip


def _answer(data: object) -> WireMessage:
    return (1, b"", None, None, json.dumps(data).encode())


async def test_another_replica_leads_before_the_times_are_read() -> None:
    servers = Servers()
    await hand_over_leads(servers, SteppedClock())
    assert servers.leader == "b"
    assert await times_made(servers) == {"H_INTEGRITY": 1_767_225_601_500_000_000}


async def test_who_is_alone_is_told() -> None:
    with pytest.raises(Unreachable, match="no other replica leads"):
        await hand_over_leads(Servers(is_alone=True), SteppedClock())

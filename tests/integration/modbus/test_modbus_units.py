"""Several units behind one gateway: one that is silent does not take the others with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from modbus_kit import framed, raw_device, tag
from test_modbus_faults import answer_registers

from millstream.connectors.modbus import ModbusConfig, ModbusConnector
from millstream.connectors.modbus._units import RETRY_CEILING_S, Units
from millstream.kernel import Unreachable
from millstream.sdk import ConnectorTools, Tag, Write

TAGS = [tag(f"holding:{10 * unit}", unit_id=unit) for unit in (1, 2, 3)]


class Gateway:
    """Answers each unit's registers, but those of the `silent`."""

    def __init__(self, *silent: int) -> None:
        self.silent = set(silent)
        self.asked: list[int] = []
        self.late: list[bytes] = []
        self.release_late = False

    async def answer(self, request: bytes) -> bytes:
        self.asked.append(request[6])
        reply = answer_registers(request) if request[7] == 3 else framed(request, request[7:12])
        if request[6] in self.silent:
            self.late.append(reply)
            return b""
        if self.release_late:  # the answers to earlier requests come just before this one's
            reply = b"".join(self.late) + reply
            self.late.clear()
        return reply


def connector(port: int, tags: Sequence[Tag] = TAGS) -> ModbusConnector:
    config = ModbusConfig(host="127.0.0.1", port=port, timeout="0.3s", connect_timeout="5s")  # type: ignore[arg-type]
    return ModbusConnector(config, ConnectorTools(tags=tags))


async def test_a_silent_unit_is_bad_and_the_others_go_on_without_waiting_for_it() -> None:
    gateway = Gateway(2)
    async with raw_device(gateway.answer) as port, connector(port).open() as session:
        for _ in range(3):
            found = [(s.value, s.quality.label) for s in await session.read(TAGS)]
            assert found == [(10, "Good"), (None, "BadNoCommunication"), (30, "Good")]
        assert gateway.asked.count(2) < 3  # not at each poll
        assert gateway.asked.count(1) == gateway.asked.count(3) == 3


async def test_a_silent_unit_that_is_polled_first_and_alone_does_not_end_the_link() -> None:
    gateway = Gateway(1)
    async with raw_device(gateway.answer) as port, connector(port).open() as session:
        assert [s.quality.label for s in await session.read(TAGS[:1])] == ["BadNoCommunication"]
        assert [s.value for s in await session.read(TAGS[1:])] == [20, 30]


async def test_a_unit_that_answers_again_is_good_again_and_its_late_answers_meet_nobody() -> None:
    gateway = Gateway(2)
    async with raw_device(gateway.answer) as port, connector(port).open() as session:
        await session.read(TAGS)
        gateway.silent.clear()
        gateway.release_late = True
        async with asyncio.timeout(60):
            while (values := [s.value for s in await session.read(TAGS)]) != [10, 20, 30]:
                assert values == [10, None, 30]
                await asyncio.sleep(0.05)


async def test_a_gateway_of_which_no_unit_answers_is_a_lost_link() -> None:
    gateway = Gateway(1, 2, 3)
    async with raw_device(gateway.answer) as port, connector(port).open() as session:
        with pytest.raises(Unreachable, match="no answer within"):
            await session.read(TAGS)
        assert gateway.asked == [1, 2, 3]


async def test_a_write_to_a_silent_unit_fails_alone() -> None:
    gateway = Gateway(2)
    async with raw_device(gateway.answer) as port, connector(port).open() as session:
        results = await session.write([Write(t, 7) for t in TAGS])
        assert [r.quality.label for r in results] == ["Good", "BadNoCommunication", "Good"]


def test_a_silent_unit_is_tried_after_growing_pauses_until_it_answers() -> None:
    units = Units([1, 2])
    now_ns, pauses = 0, []
    for attempt in range(12):
        assert units.went_silent(1, now_ns) is (attempt == 0)
        assert not units.is_due(1, now_ns)
        start_ns = now_ns
        while not units.is_due(1, now_ns):
            now_ns += 100_000_000
        pauses.append((now_ns - start_ns) / 1e9)
    assert pauses[0] <= 1.1
    assert RETRY_CEILING_S / 2 <= pauses[-1] <= RETRY_CEILING_S + 0.1
    assert units.is_due(2, 0)
    assert not units.are_all_silent
    assert units.answered(1)
    assert units.is_due(1, 0)
    assert not units.answered(1)

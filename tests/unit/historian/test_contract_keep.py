"""What contracts say of how long samples are kept: it holds for their paths without a restart, once it was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from millstream.bus import MemoryReader, MemoryStream
from millstream.historian import (
    Around,
    Count,
    HistorianOptions,
    HistorianService,
    Keep,
    KeepRule,
    Window,
)
from millstream.historian._contract_keep import said_keep
from millstream.historian._keep import KeepBook, SaidKeep
from millstream.historian._tags import TagEntry
from millstream.kernel import SystemClock, Unreachable
from millstream.protocols.contract import Contract, check_contract, compare, decode_contract, encode_contract
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_payload import encode_sample

DAY_S = 86_400.0
DAY_NS = 86_400 * 10**9
FAST = HistorianOptions(commit_every_s=0.02, watch_every_s=0.02, hot_window_s=0.0, contracts_every_s=3600.0)
PRESS = Contract("press", "tag", ("acme/p1/press*",), version=1, published_ns=5, retention="never")
PUMP = Contract("pump", "tag", ("acme/p1/pump",), version=1, published_ns=6, retention="5d", minute_rollups="never")


class Registry:
    """The contracts of a node, and the events that were told; tests change the first."""

    def __init__(self, *contracts: Contract) -> None:
        self.published: list[Contract] = list(contracts)
        self.told: list[tuple[str, Mapping[str, Any], int]] = []
        self.is_away = False
        self._given = -1

    async def contracts(self) -> Sequence[Contract] | None:
        """As of a bucket."""
        if self._given == len(self.published):
            return None
        self._given = len(self.published)
        return tuple(self.published)

    async def tell(self, id: str, what: str, data: Mapping[str, Any], time_ns: int) -> None:
        """Into a list."""
        if self.is_away:
            raise Unreachable("no stream")
        assert what == "retention.changed"
        self.told.append((id, data, time_ns))


def filled() -> MemoryStream:
    """Three machines, each with a sample of today and one of each of the ten days before."""
    stream, today_ns = MemoryStream("H_INTEGRITY"), SystemClock().now_ns() // DAY_NS * DAY_NS
    for day in range(11):
        for machine in ("press1", "pump", "saw"):
            at_ns = today_ns - day * DAY_NS
            body = encode_sample(float(day), quality=0, source_time_ns=at_ns, ingest_time_ns=at_ns)
            stream.append(f"uns.v1.acme.p1.{machine}._tag.t", body)
    return stream


def service(folder: Path, stream: MemoryStream, registry: Registry, **options: Any) -> HistorianService:
    return HistorianService(
        MemoryReader({stream.name: stream}), folder, streams=(stream.name,), options=replace(FAST, **options),
        contracts=Around(registry, registry.tell),
    )  # fmt: skip


async def counts(historian: HistorianService, stream: MemoryStream) -> dict[str, int]:
    """Samples of each machine after what is over has gone."""
    while historian.positions.get(stream.name) != stream.last_seq:
        await SystemClock().sleep(0.01)
    await historian.maintain()
    table = await historian.query(Count(tags=("*",)))
    return dict(zip((t.split("/")[2][:5] for t in table.column("tag").to_pylist()),
                    table.column("count").to_pylist(), strict=True))  # fmt: skip


async def test_each_contract_keeps_its_own_and_a_change_holds_without_a_restart_and_is_told_once(
    tmp_path: Path,
) -> None:
    stream, registry = filled(), Registry(PRESS, PUMP)
    async with service(tmp_path, stream, registry, keep=Keep(8 * DAY_S)) as historian:
        assert await counts(historian, stream) == {"press": 11, "pump:": 6, "saw:t": 9}
        assert [id for id, _, _ in registry.told] == ["retention.changed/press/1", "retention.changed/pump/1"]
        rolled = await historian.query(
            Window(tags=("acme/p1/pump:t",), start_ns=0, end_ns=2**61, every_ns=DAY_NS, aggregates=("max",))
        )
        assert rolled.column("max").to_pylist() == [float(day) for day in range(10, -1, -1)]  # its minutes stay
        registry.published.append(replace(PRESS, version=2, published_ns=7, retention="3d"))
        assert await counts(historian, stream) == {"press": 4, "pump:": 6, "saw:t": 9}
        assert registry.told[2:] == [
            (
                "retention.changed/press/2",
                {
                    "contract": "press", "version": 2, "kind": "tag", "paths": ["acme/p1/press*"],
                    "before": {"version": 1, "retention": "never"}, "after": {"retention": "3d"},
                },
                7,
            )
        ]  # fmt: skip
        registry.published.append(replace(PRESS, version=3, retention="3d", description="said in other words"))
        await historian.look_at_contracts()
        assert len(registry.told) == 3
    registry = Registry(*registry.published)
    async with service(tmp_path, stream, registry, keep=Keep(8 * DAY_S)) as historian:
        assert await counts(historian, stream) == {"press": 4, "pump:": 6, "saw:t": 9}
        assert registry.told == []


async def test_what_cannot_be_told_does_not_hold_yet(tmp_path: Path) -> None:
    stream, registry = filled(), Registry(PRESS)
    async with service(tmp_path, stream, registry) as historian:
        assert await counts(historian, stream) == {"press": 11, "pump:": 11, "saw:t": 11}
        registry.published += [replace(PRESS, version=2, retention="3d"), PUMP]
        registry.is_away = True
        for _ in range(2):
            with pytest.raises(Unreachable):
                await historian.look_at_contracts()
            assert await counts(historian, stream) == {"press": 11, "pump:": 11, "saw:t": 11}
        assert len(registry.told) == 1
        registry.is_away = False
        assert await counts(historian, stream) == {"press": 4, "pump:": 6, "saw:t": 11}
        assert [id for id, _, _ in registry.told[1:]] == ["retention.changed/press/2", "retention.changed/pump/1"]


def test_a_rule_of_the_operator_is_over_contracts_and_of_several_contracts_the_longest_holds() -> None:
    def said(path: str, kind: str = "tag", **kept: float | None) -> SaidKeep:
        return SaidKeep(kind, (Pattern.parse(path),), kept)

    rule = KeepRule((Pattern.parse("acme/p1/press1"),), Keep(2 * DAY_S))
    book = KeepBook(Keep(10 * DAY_S, DAY_S, None), (rule,))
    entries = [
        TagEntry(0, "acme/p1/press1:t"), TagEntry(1, "acme/p1/press2:t"), TagEntry(2, "acme/p1/press2:t", kind="kpi"),
        TagEntry(3, "acme/p2:t"), TagEntry(4, "no path"),
    ]  # fmt: skip
    assert {book.of(entry) for entry in entries[1:]} == {book.default}
    book.set_contracts((
        said("acme/p1", retention=3 * DAY_S, minute_rollups=None), said("acme/**:t", retention=5 * DAY_S),
        said("acme/p1", "kpi", hour_rollups=9 * DAY_S),
    ))  # fmt: skip
    assert [book.of(entry) for entry in entries] == [
        Keep(2 * DAY_S), Keep(5 * DAY_S, None, None), Keep(10 * DAY_S, DAY_S, 9 * DAY_S),
        Keep(5 * DAY_S, DAY_S, None), book.default,
    ]  # fmt: skip
    book.set_contracts((said("acme/p1", retention=3 * DAY_S), said("acme/p1", retention=None)))
    assert book.of(entries[1]).samples_s is None


def test_a_contract_says_how_long_and_a_shorter_time_is_a_breaking_change() -> None:
    assert decode_contract(encode_contract(PUMP)) == PUMP
    assert PUMP.as_dict()["retention"] == "5d"
    keep = said_keep(PUMP)
    assert keep is not None
    assert keep.said == {"retention": 5 * DAY_S, "minute_rollups": None}
    assert said_keep(replace(PUMP, retention=None, minute_rollups=None)) is None
    for wrong in (replace(PUMP, retention="soon"), replace(PUMP, kind="event")):
        assert ("retention",) in [where for where, _ in check_contract(wrong)]
    for before, after, verdict in (
        ("5d", "7d", "additive"), ("5d", "120h", "additive"), ("5d", "never", "additive"), (None, "never", "additive"),
        ("5d", "4d", "breaking"), ("never", "9000d", "breaking"), (None, "5d", "breaking"), ("5d", None, "breaking"),
        ("5d", "5d", "same"),
    ):  # fmt: skip
        changed = compare(replace(PUMP, retention=before), replace(PUMP, retention=after))
        assert changed[0] == verdict, (before, after, changed)

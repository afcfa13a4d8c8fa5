"""The small parts: states, position records, dead letters, descriptions, thinning, probe and browse."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.bus import StreamInfo
from millstream.config import (
    ConnectorEntry,
    EdgeConfig,
    EdgeIdentity,
    StreamConfig,
    StreamsConfig,
    load_edge,
)
from millstream.edge import browse, probe, starting_config
from millstream.edge._apart import run_apart
from millstream.edge._deadletter import StreamDeadLetters, letter_headers
from millstream.edge._describe import MetaNote, describe, load_meta, save_meta
from millstream.edge._lifecycle import Halt, Lifecycle, Retry, State
from millstream.edge._outbox import _parts
from millstream.edge._pipeline import DeadLetter, Pipeline
from millstream.edge._progress import Behind, Mark, Progress, decode_progress, encode_progress
from millstream.edge._store_watch import StoreWatch
from millstream.edge._thinning import Thinning
from millstream.kernel import AuthError, Backoff, DecodeError, PlantError, Unreachable
from millstream.protocols.nats_wire import parse_headers
from millstream.sdk import (
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    Message,
    NodeInfo,
    Position,
    PublisherStats,
    Tag,
)
from millstream.sdk.testing import LoopClock, run_virtual


def lifecycle() -> Lifecycle:
    return Lifecycle(Backoff(rng=random.Random(1)))


def test_back_off_grows_and_only_data_resets_it() -> None:
    life = lifecycle()
    delays = []
    for i in range(8):
        life.opening(i)
        life.opened(i)
        decision = life.failed(Unreachable("x"), i)
        assert isinstance(decision, Retry)
        delays.append(decision.delay_s)
    assert delays[-1] > 10 * delays[0]
    life.progressed(9)
    decision = life.failed(Unreachable("x"), 10)
    assert isinstance(decision, Retry)
    assert decision.delay_s < 0.3
    assert decision.is_new


def test_a_peer_that_asks_for_patience_gets_it() -> None:
    decision = lifecycle().failed(Unreachable("busy", retry_after_s=90), 1)
    assert isinstance(decision, Retry)
    assert decision.delay_s == 90


def test_credentials_are_never_tried_again() -> None:
    life = lifecycle()
    assert isinstance(life.failed(AuthError("no"), 1), Halt)
    life.closed(2)
    assert life.state is State.STOPPED


def test_an_alarm_keeps_the_time_of_its_beginning() -> None:
    life = lifecycle()
    life.failed(RuntimeError("a"), 5)
    life.failed(RuntimeError("b"), 9)
    assert life.alarm is not None
    assert (life.alarm.since_ns, life.alarm.code) == (5, "MS-0205")


@given(st.none() | st.binary(max_size=50), st.integers(0, 10**9), st.dictionaries(st.text(), st.integers(0, 2**60)))
def test_position_records_round_trip(position: bytes | None, skip: int, counters: dict[str, int]) -> None:
    mark = Mark(Position(position) if position is not None else None, skip)
    behind = Behind("m", {"a": skip}) if skip else Behind()
    progress = Progress(mark, counters, rewinds=bool(skip % 2), turn=skip % 3, is_moved=skip % 5 == 0, behind=behind)
    assert decode_progress(encode_progress(progress)) == progress


@given(st.binary(max_size=60))
def test_no_bytes_make_the_position_decoder_raise_anything_but_its_error(payload: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode_progress(payload)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b'{"position":"!"}', b'{"position":null,"skip":-1}', b'{"position":null,"behind":{"a":-1}}', b"\xff"],
)
def test_malformed_position_records_are_refused_with_a_reason(payload: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_progress(payload)
    assert caught.value.code == "MS-0307"


class FakeConnection:
    """Answers like JetStream; the first `failures` answers are errors."""

    def __init__(self, answers: list[bytes | Exception]) -> None:
        self.answers = answers
        self.sent: list[tuple[str, bytes, bytes]] = []

    async def request(
        self, subject: str, payload: bytes = b"", *, header_lines: bytes = b"", timeout_s: float = 5.0
    ) -> Any:
        self.sent.append((subject, payload, header_lines))
        answer = self.answers.pop(0) if self.answers else b'{"stream":"E_e1_DLQ","seq":1}'
        if isinstance(answer, Exception):
            raise answer
        return (1, b"", None, None, answer)

    def publish(self, subject: str, payload: bytes, *, reply: str = "", header_lines: bytes = b"") -> None:
        self.sent.append((subject, payload, header_lines))


def test_dead_letters_are_sent_until_they_are_stored() -> None:
    connection = FakeConnection([Unreachable("x"), b'{"error":{"code":503,"description":"busy"}}', b"garbage"])
    store = StreamDeadLetters(connection, "e1", LoopClock())
    run_virtual(store.write("plc 1", DeadLetter(b"\x00", "why", "MS-0300", "uns.v1.a._tag.b")))
    assert len(connection.sent) == 4
    assert connection.sent[-1][0] == "dlq.e1.plc=201"


def test_a_dead_letter_that_is_refused_for_good_says_so() -> None:
    connection = FakeConnection([b'{"error":{"code":400,"description":"bad request"}}'])
    with pytest.raises(PlantError, match="bad request"):
        run_virtual(StreamDeadLetters(connection, "e1", LoopClock()).write("a", DeadLetter(b"", "why")))


def test_a_large_dead_letter_is_kept_in_parts() -> None:
    connection = FakeConnection([])
    raw = bytes(range(256)) * 20_000
    run_virtual(StreamDeadLetters(connection, "e1", LoopClock()).write("a", DeadLetter(raw, "why")))
    assert b"".join(payload for _, payload, _ in connection.sent) == raw
    assert b"Ms-Part: 1/5\r\n" in connection.sent[0][2]


def test_many_dead_letters_are_one_batch_and_singles_where_the_server_takes_none() -> None:
    letters = [DeadLetter(b"%d" % n, "why", contract="press/3") for n in range(3)]
    connection = FakeConnection([])
    run_virtual(StreamDeadLetters(connection, "e1", LoopClock()).write_all("a", letters))
    assert [payload for _, payload, _ in connection.sent] == [b"0", b"1", b"2"]
    assert [b"Nats-Batch-Commit: 1" in lines for _, _, lines in connection.sent] == [False, False, True]
    assert all(b"Ms-Contract: press/3\r\n" in lines for _, _, lines in connection.sent)
    refusing = FakeConnection([b'{"error":{"code":400,"description":"batch publish is not enabled"}}'])
    run_virtual(StreamDeadLetters(refusing, "e1", LoopClock()).write_all("a", letters))
    assert [payload for _, payload, lines in refusing.sent if b"Nats-Batch-Id" not in lines] == [b"0", b"1", b"2"]


@given(st.text(max_size=2000))
def test_no_reason_breaks_the_header_block(reason: str) -> None:
    lines = letter_headers("x", DeadLetter(b"", reason), 5)
    parsed = parse_headers(b"NATS/1.0\r\n" + lines + b"\r\n")
    assert set(parsed.values) == {"Ms-Reason", "Ms-Code", "Ms-Source", "Ms-Time"}


def edge_with(*tags: dict[str, Any]) -> tuple[EdgeConfig, ConnectorEntry]:
    entry = ConnectorEntry.model_validate({"name": "a", "type": "x", "tags": list(tags)})
    return EdgeConfig(edge=EdgeIdentity(name="e", path="acme", data_dir="/x"), connectors=(entry,)), entry


def test_descriptions_are_published_when_they_change_or_the_stream_is_new(tmp_path: Path) -> None:
    def described(unit: str, known: MetaNote, stream: str) -> tuple[list[Any], MetaNote]:
        config, entry = edge_with({"name": "t", "address": "1", "unit": unit})
        messages, note = describe([(entry, m) for m in config.mapped_tags(entry)], known, stream)
        return [msgspec.json.decode(m.payload) for m in messages], note

    first, note = described("mm", MetaNote(), "S")
    assert [m["revision"] for m in first] == [1]
    assert described("mm", note, "S")[0] == []
    changed, note = described("cm", note, "S")
    assert [m["revision"] for m in changed] == [2]
    moved, note = described("cm", note, "S_g2")
    assert [m["revision"] for m in moved] == [2]
    save_meta(tmp_path, note)
    assert load_meta(tmp_path) == note
    (tmp_path / "meta.json").write_text("garbage")
    assert load_meta(tmp_path) == MetaNote()


def test_what_is_submitted_at_once_is_cut_by_count_and_by_bytes() -> None:
    small, large = Message("a", b"x"), Message("a", b"x" * 60)
    assert [len(p) for p in _parts([], 100)] == [0]
    assert [len(p) for p in _parts([small] * 1801, 10_000)] == [900, 900, 1]
    assert [len(p) for p in _parts([large] * 5, 130)] == [2, 2, 1]
    assert [len(p) for p in _parts([large, small, large], 50)] == [1, 1, 1]


def test_thinning_starts_and_ends_with_the_fill_of_its_stream() -> None:
    config, entry = edge_with({"name": "t", "address": "1"})
    made = Pipeline(config.mapped_tags(entry), config.path)
    thinning = Thinning()
    thinning.add("integrity", made)
    streams = StreamsConfig(integrity=StreamConfig(when_full="thin"))

    def at(size: int) -> bool:
        thinning.watch([StreamInfo("E_e_I", "", 1, size, 1, 1, {"max_bytes": 1000}, {})], streams)
        return made.thins

    assert [at(size) for size in (100, 690, 710, 650, 590, 650)] == [False, False, True, True, False, False]
    assert thinning.alarm(5) is None
    at(900)
    alarm = thinning.alarm(7)
    assert alarm is not None
    assert alarm.code == "MS-0622"


def test_dropped_and_full_streams_are_alarms_with_their_beginning() -> None:
    watch = StoreWatch()
    full = PublisherStats(0, 0, 0, 0, 5, 5, 0.0, True, True)

    def stream(first: int, last: int) -> StreamInfo:
        return StreamInfo("E_e_I", "", last - first + 1, 1, first, last, {}, {})

    assert watch.look([stream(1, 10)], {}, 0, 1) == []
    assert [a.code for a in watch.look([stream(5, 10)], {"integrity": full}, 2, 2)] == ["MS-0401", "MS-0623"]
    assert [a.since_ns for a in watch.look([stream(6, 10)], {"integrity": full}, 2, 3)] == [2, 2]
    assert watch.dropped_messages == 3
    assert watch.look([stream(6, 10)], {}, 9, 4) == []
    assert watch.look([stream(6, 10)], {}, None, 5) == []


class Device:
    info: ClassVar[ConnectorInfo] = ConnectorInfo("device", "for tests", "none")
    Config: ClassVar[type[ConnectorConfig]] = ConnectorConfig

    def __init__(self, nodes: list[NodeInfo], hangs: bool = False) -> None:
        self.nodes = nodes
        self.hangs = hangs
        self.is_open = False

    def check_tag(self, tag: Tag) -> None:
        """All are right."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        if self.hangs:
            await asyncio.Event().wait()
        self.is_open = True
        try:
            yield self
        finally:
            self.is_open = False

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        for node in self.nodes:
            yield node


def test_a_probe_opens_and_leaves_and_tells_what_the_session_can() -> None:
    device = Device([])
    result = run_virtual(probe(device, clock=LoopClock()))  # type: ignore[arg-type]
    assert result.capabilities == ("browses",)
    assert not device.is_open


def test_a_probe_of_a_silent_device_ends_at_its_deadline() -> None:
    with pytest.raises(Unreachable, match="no answer in time"):
        run_virtual(probe(Device([], hangs=True), timeout_s=3))  # type: ignore[arg-type]


def test_browse_stops_at_its_limit() -> None:
    nodes = [NodeInfo(str(i), f"n{i}") for i in range(10)]
    result = run_virtual(browse(Device(nodes), limit=4))  # type: ignore[arg-type]
    assert (len(result.nodes), result.is_complete) == (4, False)


def test_a_starting_configuration_is_one_that_loads(tmp_path: Path) -> None:
    nodes = (
        NodeInfo("ns=2;s=A", "speed", ("axis",), "Double", "mm/s", 'with "quotes" and: colons'),
        NodeInfo("ns=2;s=B", "speed", ("axis",)),
        NodeInfo("1", "a/b:c%", (), "Int\n32"),
        NodeInfo("{x}", "\x00", ("gr\u00f6\u00dfe",)),
    )
    text = starting_config(nodes, name="plc", type_name="ramp", config={"host": "x"}, path="line")
    path = tmp_path / "edge.yaml"
    path.write_text("edge: {name: e1, path: acme/p1, data_dir: d}\n" + text, encoding="utf-8")

    class Config(ConnectorConfig):
        host: str

    class Ramp(Device):
        def __init__(self, config: Any, tools: ConnectorTools) -> None:
            super().__init__([])

    Ramp.Config = Config
    config, findings = load_edge(path, {"ramp": Ramp})  # type: ignore[dict-item]
    assert findings == []
    assert config is not None
    mapped = config.mapped_tags(config.connectors[0])
    assert [m.path.names for m in mapped] == [
        ("axis", "speed"), ("axis", "speed_2"), ("a/b:c%",), ("gr\u00f6\u00dfe", "unnamed"),
    ]  # fmt: skip
    assert [m.tag.address for m in mapped] == ["ns=2;s=A", "ns=2;s=B", "1", "{x}"]


async def test_work_that_runs_apart_is_cancelled_with_its_caller() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    task = asyncio.ensure_future(run_apart(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]

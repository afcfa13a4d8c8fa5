"""Commands against a real server: what they print, as text and as JSON, and their exit status."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from fake_node import NOW_NS, FakeNode

from millstream.cli import main
from millstream.protocols.ledger import LedgerRecord, encode_record
from millstream.protocols.uns_payload import encode_sample

TEMPERATURE = "acme/plant1/press:temperature"


class Said:
    """What one command left."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in a thread (it has an event loop of its own) and give what it printed."""

    async def run(*words: str) -> Said:
        status = await asyncio.to_thread(main, list(words))
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return run


async def test_a_value_is_published_and_read_back(edge: FakeNode, say: Any) -> None:
    assert (await say("publish", TEMPERATURE, "-21.5", "--unit", "degC")).status == 0
    alone = await say("get", TEMPERATURE)
    assert (alone.status, alone.out) == (0, "-21.5 degC\n")
    assert alone.err.startswith("Good, ")
    as_json = (await say("get", TEMPERATURE, "--json")).lines
    assert [(r["path"], r["value"], r["unit"], r["quality"]) for r in as_json] == [(TEMPERATURE, -21.5, "degC", "Good")]
    table = await say("get", "acme/**")
    assert table.out.splitlines()[0].split() == ["path", "value", "unit", "quality", "age"]


async def test_text_and_json_values_are_told_apart(edge: FakeNode, say: Any) -> None:
    for text, value in (("running", "running"), ("true", True), ('"7"', "7"), ('{"a": [1]}', {"a": [1]})):
        await say("publish", "acme:x", text)
        assert (await say("get", "acme:x", "--json")).lines[0]["value"] == value


async def test_what_json_cannot_say_keeps_its_special_form(edge: FakeNode, say: Any) -> None:
    payload = encode_sample(float("nan"), quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS)
    await edge.client.jetstream().publish("uns.v1.acme._tag.x", payload)
    assert (await say("get", "acme:x", "--json")).lines[0]["value"] == {"$float": "NaN"}


async def test_a_tag_that_is_not_there_is_exit_status_3(edge: FakeNode, say: Any) -> None:
    await say("publish", TEMPERATURE, "1")
    missing = await say("get", "acme/plant1/press:temperatur")
    assert (missing.status, missing.out) == (3, "")
    assert "tip: did you mean 'acme/plant1/press:temperature'?" in missing.err
    assert (await say("get", "nobody/**")).status == 3
    assert (await say("get", "a:b:c")).status == 2


async def test_tail_ends_after_the_count_or_the_time(edge: FakeNode, say: Any) -> None:
    await say("publish", TEMPERATURE, "5")
    found = await say("tail", "acme", "--initial", "--count", "1", "--json")
    assert [reading["value"] for reading in found.lines] == [5]
    ended = await say("tail", "--for", "50ms")
    assert (ended.status, ended.out) == (0, "")
    assert (await say("tail", "--for", "50")).status == 1


async def test_the_tree_is_drawn_and_listed(edge: FakeNode, say: Any) -> None:
    await say("publish", TEMPERATURE, "1")
    await say("publish", "acme/plant1/press:parts", "1", "--kind", "count")
    drawn = await say("tree")
    assert "press/" in drawn.out
    assert "parts (count)" in drawn.out
    assert "2 tags" in drawn.err
    listed = (await say("tree", "**:temperature", "--json")).lines[0]
    assert [tag["path"] for tag in listed["tags"]] == [TEMPERATURE]


async def test_a_query_is_printed_in_every_format(hub: FakeNode, say: Any, tmp_path: Path) -> None:
    table = await say("query", TEMPERATURE, "--start", "-1h")
    assert "20.5" in table.out
    assert "Good" in table.out
    rows = (await say("query", TEMPERATURE, "--json")).lines
    assert rows[0]["timestamp"] == "2026-09-21T14:13:20Z"
    csv = await say("query", TEMPERATURE, "-o", "csv")
    assert csv.out.splitlines()[0] == '"tag","timestamp","value","quality"'
    for name in ("day.arrow", "day.parquet", "day.jsonl", "day.csv"):
        written = await say("query", TEMPERATURE, "--file", str(tmp_path / name))
        assert (written.status, written.out) == (0, "")
    with pa.ipc.open_stream((tmp_path / "day.arrow").read_bytes()) as reader:
        assert reader.read_all().num_rows == 2
    assert pa_parquet.read_table(tmp_path / "day.parquet").num_rows == 2
    assert len((tmp_path / "day.jsonl").read_text().splitlines()) == 2


async def test_a_query_asks_for_what_was_meant(hub: FakeNode, say: Any) -> None:
    await say("query", TEMPERATURE, "--start", "-1h", "--every", "1min", "-a", "mean", "-a", "max")
    await say("query", TEMPERATURE, "--at", "-10min", "--quality", "good")
    await say("query", TEMPERATURE, "--last")
    await say(
        "query", "acme/plant1/press:stopped", "--kind", "event", "--type", "com.*", "--start", "-1d", "--limit", "5"
    )
    await say("query", TEMPERATURE, "--kind", "count", "--start", "-1h")
    events, counts = hub.queries[3:]
    asked = (events["kind"], events["data_kind"], events["type"], events["limit"])
    assert asked == ("events", "event", "com.*", 5)
    assert (counts["kind"], counts["data_kind"]) == ("range", "count")
    kinds = [(q["kind"], q.get("aggregates"), q.get("quality")) for q in hub.queries[:3]]
    assert kinds == [("window", ["mean", "max"], None), ("asof", None, "good"), ("last", None, None)]


async def test_a_query_that_contradicts_itself_is_a_usage_error(hub: FakeNode, say: Any) -> None:
    assert (await say("query", TEMPERATURE, "--at", "now", "--last")).status == 2
    assert (await say("query", TEMPERATURE, "--start", "yesterday")).status == 2
    assert (await say("query", TEMPERATURE, "-a", "mean")).status == 2
    assert (await say("query", TEMPERATURE, "--type", "com.acme")).status == 2
    assert (await say("query", TEMPERATURE, "--kind", "alarm", "--last")).status == 2


async def test_a_refused_query_keeps_the_historians_code(hub: FakeNode, say: Any) -> None:
    hub.error = {"code": "MS-0320", "message": "window is empty", "hint": None}
    refused = await say("query", TEMPERATURE, "--json")
    assert refused.status == 1
    assert json.loads(refused.err)["error"]["code"] == "MS-0320"


async def test_status_shows_connectors_and_alarms(edge: FakeNode, say: Any) -> None:
    edge.status["connectors"] = [{"name": "plc", "type": "modbus", "state": "waiting", "error": "no link\x1b[2J"}]
    edge.status["alarms"] = [{"code": "MS-0607", "message": "server restarted", "since_ns": 1}]
    text = await say("status")
    assert "waiting" in text.out
    assert "\x1b" not in text.out
    assert "alarm MS-0607" in text.err
    whole = (await say("status", "--json")).lines[0]["nodes"][0]
    assert whole["connectors"] == edge.status["connectors"], "JSON carries all that the table has, and more"


async def test_the_ledger_exits_6_when_it_does_not_balance(edge: FakeNode, say: Any) -> None:
    js = edge.client.jetstream()
    await js.publish("uns.v1.acme._tag.x", encode_sample(1, quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS))
    await js.publish("uns.v1.acme._ledger.edge1.integrity", encode_record(LedgerRecord(1, 1, 1, 1, 1, NOW_NS)))
    clean = await say("ledger", "--recount", "--json")
    assert (clean.status, clean.lines[0]["is_clean"]) == (0, True)
    await js.publish("uns.v1.acme._ledger.edge1.integrity", encode_record(LedgerRecord(2, 9, 9, 10, 10, NOW_NS)))
    bad = await say("ledger", "--recount")
    assert bad.status == 6
    assert "NOT CLEAN" in bad.out


async def dead(node: FakeNode, payload: bytes, **headers: str) -> str:
    """Store one dead letter as a node does."""
    fields = {f"Ms-{name.title()}": text for name, text in headers.items()}
    ack = await node.client.jetstream().publish(f"dlq.{node.name}.plc", payload, headers=fields)
    return f"{ack.stream}:{ack.seq}"


async def test_dead_letters_are_listed_shown_and_replayed_once(edge: FakeNode, say: Any) -> None:
    good = encode_sample(7, quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS)
    subject = "uns.v1.acme.plant1.press._tag.temperature"
    first = await dead(edge, good, reason="was refused", code="MS-0300", source="plc", subject=subject, time="5")
    second = await dead(edge, b"\x00garbage\x1b", reason="not JSON", code="MS-0302", source="plc", subject=subject)
    listed = (await say("deadletter", "list", "--json")).lines
    assert [(x["id"], x["path"]) for x in listed] == [(first, TEMPERATURE), (second, TEMPERATURE)]
    assert "2 dead letters" in (await say("deadletter", "list")).err
    shown = await say("deadletter", "show", second)
    assert "00 67 61 72" in shown.out
    assert "\x1b" not in shown.out
    replayed = await say("deadletter", "replay", "--all", "--json")
    assert replayed.status == 1
    assert [line["stored"] is None for line in replayed.lines] == [False, True]
    assert (await say("get", TEMPERATURE)).out == "7\n"
    left = (await say("deadletter", "list", "--json")).lines
    assert [x["id"] for x in left] == [second], "what is stored is gone from here, what makes no sense stays"


async def test_a_letter_without_a_place_needs_one(edge: FakeNode, say: Any) -> None:
    good = encode_sample(8, quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS)
    letter = await dead(edge, good, reason="no place", code="MS-0300", source="plc")
    assert (await say("deadletter", "replay", letter)).status == 1
    assert (await say("deadletter", "replay", letter, "--path", "acme:x")).status == 0
    assert (await say("get", "acme:x")).out == "8\n"
    assert (await say("deadletter", "show", letter)).status == 3
    assert (await say("deadletter", "replay")).status == 2


async def test_doctor_finds_nothing_wrong_with_a_healthy_node(edge: FakeNode, say: Any) -> None:
    found = (await say("doctor", "--json")).lines[0]
    assert (found["ok"], [f for f in found["findings"] if f["severity"] != "info"]) == (True, [])


async def test_doctor_names_each_fault_and_its_remedy(edge: FakeNode, say: Any) -> None:
    await dead(edge, b"x", reason="r", code="MS-0300", source="s")
    edge.status["connectors"] = [{"name": "plc", "type": "modbus", "state": "stopped", "error": "wrong password"}]
    edge.status["uplink"] = {"state": "cut", "behind_messages": 12, "data_age_ms": 9000}
    edge.status["ledger"] = {"E_edge1_I": {"gaps": 2, "is_clean": False}}
    found = await say("doctor", "--json")
    assert found.status == 6
    findings = found.lines[0]["findings"]
    assert {f["check"] for f in findings} >= {"dead letters", "connectors", "uplink", "ledger"}
    assert all(f["next_step"] for f in findings)


async def test_doctor_says_that_a_node_is_a_leftover(edge: FakeNode, say: Any) -> None:
    edge.write_node_file(2**22 + 1)
    await edge.stop()
    found = await say("doctor", "--timeout", "2")
    assert found.status == 6
    assert "MS-0682" in found.out


async def test_doctor_looks_at_a_file_without_a_running_node(
    say: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILLSTREAM_NODE", raising=False)
    listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    config = tmp_path / "edge.yaml"
    config.write_text(
        f"edge: {{name: e1, path: acme/p1, data_dir: data}}\nserver: {{port: {port}}}\n"
        f'uplink: {{url: "nats://127.0.0.1:{port}", secret: {{env: X}}}}\n'
    )
    found = await say("doctor", "-c", str(config), "--json")
    listener.close()
    await listener.wait_closed()
    assert found.status == 6
    assert {f["check"] for f in found.lines[0]["findings"]} >= {"node", "ports", "uplink"}


async def test_refused_credentials_are_exit_status_4(edge: FakeNode, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_PASSWORD", "wrong")
    refused = await say("status", "--url", edge.url, "--user", "plant")
    assert refused.status == 4
    assert "wrong" not in refused.err.replace("the wrong", "")


async def test_the_password_comes_from_the_environment(
    edge: FakeNode, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLSTREAM_PASSWORD", "only-for-tests")
    assert (await say("status", "--url", edge.url, "--user", "plant")).status == 0

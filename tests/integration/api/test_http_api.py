"""The HTTP API over a real socket."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import re
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millstream.api import create_app, load_or_make_token, serve_api
from millstream.bus import MemoryReader, MemoryStream
from millstream.historian import HistorianOptions, HistorianService, StreamState, StreamStates
from millstream.kernel import ConfigError
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.uns_payload import ARROW_TYPE, encode_sample

TOKEN = "a-token-for-these-tests-only"
T0 = 1_700_000_000 * 10**9
TAG = "acme/p1:speed"
METRIC = re.compile(r"(millstream_\w+)(\{.*\})? ")
DELAYED_ACK_S = 0.04  # of Linux, at least


def stream() -> MemoryStream:
    made = MemoryStream("H_INTEGRITY")
    for i in range(100):
        payload = encode_sample(i / 2, quality=0, source_time_ns=T0 + i * 10**9 + 123_456_789, ingest_time_ns=T0)
        made.append("uns.v1.acme.p1._tag.speed", payload)
    for name, value in (("count", 2**63 - 1), ("nan", math.nan), ("text", 'a,"b"\n')):
        made.append(
            f"uns.v1.acme.p1._tag.{name}", encode_sample(value, quality=0, source_time_ns=T0, ingest_time_ns=T0)
        )
    made.append("uns.v1.acme.p1._meta.speed", b'{"unit":"1/min"}')
    made.append("uns.v1.acme.p1._count.parts", encode_sample(7, quality=0, source_time_ns=T0, ingest_time_ns=T0))
    for kind, name in (("event", "stopped"), ("event", "started"), ("alarm", "hot")):
        headers, payload = encode_event(CloudEvent(f"{kind}-{name}", "/press", f"com.acme.{name}", {"by": 3}, T0))
        lines = "".join(f"{key}: {text}\r\n" for key, text in headers.items())
        made.append(f"uns.v1.acme.p1._{kind}.{name}", payload, f"NATS/1.0\r\n{lines}\r\n".encode())
    return made


@asynccontextmanager
async def api(folder: Path, states: StreamStates | None = None) -> AsyncIterator[httpx.AsyncClient]:
    source = stream()
    options = HistorianOptions(commit_every_s=0.02)
    async with HistorianService(
        MemoryReader(source), folder, streams=("H_INTEGRITY",), states=states, options=options
    ) as historian:
        async with asyncio.timeout(60):
            while historian.positions["H_INTEGRITY"] < source.last_seq:
                await asyncio.sleep(0.01)

        async def node() -> dict[str, Any]:
            return {"name": "hub1"}

        async with serve_api(create_app(historian, token=TOKEN, status=node)) as address:
            assert address.host == "127.0.0.1"
            async with httpx.AsyncClient(base_url=address.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
                yield client


async def test_each_question_is_answered_as_json(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        last = (await client.get("/api/v1/last", params={"tag": TAG})).json()
        assert last == {
            "truncated": False,
            "data": [
                {
                    "tag": TAG,
                    "kind": "tag",
                    "timestamp": "2023-11-14T22:14:59.123456789Z",
                    "timestamp_ns": T0 + 99 * 10**9 + 123_456_789,
                    "value": 49.5,
                    "quality": 0,
                }
            ],
        }
        ranged = (
            await client.get(
                "/api/v1/range",
                params={
                    "tag": TAG,
                    "start": "2023-11-14T22:13:30.123456789Z",
                    "end": "2023-11-14T22:13:32Z",
                    "limit": 10,
                },
            )
        ).json()
        assert [r["value"] for r in ranged["data"]] == [5.0, 5.5]
        window = (
            await client.get(
                "/api/v1/window",
                params={
                    "tag": TAG,
                    "start": str(T0),
                    "end": str(T0 + 100 * 10**9),
                    "every": "1min",
                    "aggregate": ["count", "mean"],
                },
            )
        ).json()
        assert sum(r["count"] for r in window["data"]) == 100
        asof = (await client.get("/api/v1/asof", params={"tag": TAG, "time": str(T0 + 5 * 10**9)})).json()
        assert asof["data"][0]["value"] == 2.0
        count = (await client.get("/api/v1/count", params={"tag": "*"})).json()
        assert sum(r["count"] for r in count["data"]) == 103
        posted = (await client.post("/api/v1/query", content=b'{"kind":"last","tags":["acme/p1:count"]}')).text
        assert "9223372036854775807" in posted
        tags = (await client.get("/api/v1/tags", params={"pattern": "*speed"})).json()
        assert tags["tags"] == [{"tag": TAG, "kind": "tag", "description": {"unit": "1/min"}}]
        ledger = (await client.get("/api/v1/ledger")).json()
        assert ledger["origins"]["H_INTEGRITY"]["is_clean"] is True
        assert ledger["origins"]["H_INTEGRITY"]["missing"] == []
        status = (await client.get("/api/v1/status")).json()
        assert (status["node"], status["historian"]["samples"]) == ({"name": "hub1"}, 104)


async def test_counts_events_and_alarms_are_asked_for_by_kind(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        counted = (await client.get("/api/v1/range", params={"tag": "acme/*", "kind": "count"})).json()
        assert [(r["tag"], r["kind"], r["value"]) for r in counted["data"]] == [("acme/p1:parts", "count", 7)]
        events = (await client.get("/api/v1/events", params={"tag": "*", "type": "com.acme.s*"})).json()
        assert [(r["tag"], r["id"], r["data"]) for r in events["data"]] == [
            ("acme/p1:stopped", "event-stopped", '{"by":3}'),
            ("acme/p1:started", "event-started", '{"by":3}'),
        ]
        late = (await client.get("/api/v1/events", params={"tag": "*", "start": str(T0 + 1)})).json()
        both = [("tag", TAG), ("tag", "acme/p1:parts"), ("kind", "tag"), ("kind", "count")]
        mixed = (await client.get("/api/v1/range", params=[*both, ("limit", "3"), ("descending", "1")])).json()
        assert {r["kind"] for r in (await client.get("/api/v1/range", params=both)).json()["data"]} == {"tag", "count"}
        assert mixed["truncated"]
        times = [r["timestamp_ns"] for r in mixed["data"]]
        assert times == sorted(times, reverse=True)
        file = await client.get("/api/v1/range", params=[*both, ("format", "parquet")])
        assert set(pq.read_table(pa.BufferReader(file.content)).column("tag").to_pylist()) == {TAG, "acme/p1:parts"}
        assert (await client.get("/api/v1/range", params=[*both, ("kind", "kpi")])).json()["code"] == "MS-0320"
        alarms = (await client.get("/api/v1/events", params={"tag": "*", "kind": "alarm"})).json()
        assert (late["data"], [r["type"] for r in alarms["data"]]) == ([], ["com.acme.hot"])
        names = (await client.get("/api/v1/tags", params={"kind": "alarm"})).json()["tags"]
        assert names == [{"tag": "acme/p1:hot", "kind": "alarm", "description": None}]
        for path, kind in (("range", "event"), ("events", "tag"), ("tags", "tags")):
            assert (await client.get(f"/api/v1/{path}", params={"tag": "*", "kind": kind})).status_code == 400
        metrics = (await client.get("/metrics")).text
        assert "millstream_historian_events_total 3" in metrics


async def test_answers_come_as_csv_and_arrow_too(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        arrow = await client.get("/api/v1/range", params={"tag": TAG}, headers={"Accept": ARROW_TYPE})
        assert arrow.headers["content-type"] == ARROW_TYPE
        table = pa.ipc.open_stream(arrow.content).read_all()
        assert (table.num_rows, table.column_names) == (100, ["tag", "kind", "timestamp", "value", "quality"])
        text = (await client.get("/api/v1/range", params={"tag": "acme/p1:text", "format": "csv"})).text
        (row,) = csv.DictReader(io.StringIO(text))
        assert row == {
            "tag": "acme/p1:text",
            "kind": "tag",
            "timestamp": "2023-11-14T22:13:20.000000000Z",
            "value": 'a,"b"\n',
            "quality": "0",
        }
        nan = (await client.get("/api/v1/last", params={"tag": "acme/p1:nan"})).json()
        assert nan["data"][0]["value"] == {"$float": "NaN"}
        refused = await client.get("/api/v1/last", params={"tag": TAG}, headers={"Accept": "image/png"})
        assert refused.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/last?tag=*",
        "/api/v1/tags",
        "/api/v1/ledger",
        "/api/v1/status",
        "/metrics",
        "/api/v1/range?tag=*",
    ],
)
async def test_nothing_is_told_without_the_token(tmp_path: Path, path: str) -> None:
    async with api(tmp_path) as client:
        for headers in ({"Authorization": ""}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer x"}):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "MS-0630")
            assert answer.headers["www-authenticate"] == "Bearer"
            assert TAG not in answer.text
        assert (await client.get("/health", headers={"Authorization": ""})).json() == {"is_healthy": True}


@pytest.mark.parametrize(
    ("path", "status_code", "where"),
    [
        ("/api/v1/last", 400, "tag"),
        ("/api/v1/last?tag=nobody:x", 404, None),
        ("/api/v1/range?tag=*&limit=100001", 400, "limit"),
        ("/api/v1/range?tag=*&start=yesterday", 400, "start"),
        ("/api/v1/range?tag=*&strat=1", 400, "strat"),
        ("/api/v1/range?tag=*&start=2023-99-01T00:00:00Z", 400, "start"),
        ("/api/v1/window?tag=*", 400, "every"),
        ("/api/v1/window?tag=*&every=1min&aggregate=drop", 400, "aggregate"),
        ("/api/v1/range?tag=*&limit=5&limit=6", 400, "limit"),
        ("/api/v1/range?tag=*&format=xml", 400, "format"),
        ("/api/v1/tree?values=null", 400, "values"),
        ("/api/v1/nothing", 404, None),
        ("/api/v1/query", 405, None),
    ],
)
async def test_a_bad_request_gets_one_clear_error(
    tmp_path: Path, path: str, status_code: int, where: str | None
) -> None:
    async with api(tmp_path) as client:
        answer = await client.get(path)
        assert answer.status_code == status_code
        assert answer.json()["code"].startswith("MS-")
        assert answer.json()["where"] == where or where is None


async def test_a_posted_query_is_bounded(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        huge = await client.post("/api/v1/query", content=b" " * (2**20 + 1))
        assert huge.status_code == 400
        wide = await client.post("/api/v1/query", content=b'{"kind":"range","tags":["*"],"limit":999999}')
        assert (wide.status_code, wide.json()["where"]) == (400, "limit")


async def test_the_description_names_every_path_and_parameter(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        document = (await client.get("/openapi.json", headers={"Authorization": ""})).json()
        assert document["openapi"] == "3.1.0"
        for path, methods in document["paths"].items():
            for method in methods:
                assert (await client.request(method.upper(), path)).status_code not in (404, 405), path
        assert [p["name"] for p in document["paths"]["/api/v1/last"]["get"]["parameters"]] == [
            "tag",
            "kind",
            "format",
        ]
        text = json.dumps(document)
        for reference in {part.split('"')[0] for part in text.split('"$ref": "#/components/schemas/')[1:]}:
            assert reference in document["components"]["schemas"]


async def test_metrics_are_prometheus_text(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    assert "millstream_historian_samples_total 104" in lines
    assert 'millstream_historian_position{stream="H_INTEGRITY"} 108' in lines
    assert 'millstream_ledger_gaps{origin="H_INTEGRITY"} 0' in lines


class Standing:
    """Tells where the streams stand, as a server does."""

    async def state(self, stream: str) -> StreamState:
        """The stream as it is filled here."""
        return StreamState(1, 1, 108)


async def test_each_question_of_the_dashboard_is_about_a_metric_that_the_hub_gives(tmp_path: Path) -> None:
    board = json.loads((Path(__file__).parents[3] / "deploy" / "grafana" / "hub.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    async with api(tmp_path, states=Standing()) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    given = {match[1]: set(re.findall(r"(\w+)=", match[2] or "")) for line in lines if (match := METRIC.match(line))}
    for question, legend in zip_longest(asked, [t["legendFormat"] for p in board["panels"] for t in p["targets"]]):
        (name,) = re.findall(r"millstream_\w+", question)
        assert name in given, question
        assert {*re.findall(r"\{\{(\w+)\}\}", legend or "")} - {"instance"} <= given[name], legend
        assert ("rate(" in question) <= name.endswith("_total"), question


async def test_the_body_of_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(tmp_path: Path) -> None:
    async with api(tmp_path) as client:
        took_s = []
        for _ in range(15):  # over one connection; the first answer of each is never held back
            begun_s = time.perf_counter()
            await client.get("/health")
            took_s.append(time.perf_counter() - begun_s)
    assert min(took_s[1:]) < DELAYED_ACK_S


async def test_a_taken_port_is_told_with_the_next_step(tmp_path: Path) -> None:
    async with HistorianService(MemoryReader(stream()), tmp_path, streams=()) as historian:
        app = create_app(historian, token=TOKEN)
        async with serve_api(app) as first:
            with pytest.raises(ConfigError, match="choose another port"):
                async with serve_api(app, port=first.port):
                    pass
        with pytest.raises(ConfigError, match="too short"):
            create_app(historian, token="short")


def test_the_token_is_random_kept_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "api.token"
    token = load_or_make_token(path)
    assert len(token) >= 32
    assert load_or_make_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_make_token(tmp_path / "other.token") != token

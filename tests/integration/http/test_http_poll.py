"""Polling real servers: a good one (uvicorn), and hostile ones."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cases.http_peer import HttpPeer, ok, status
from cases.loopback import joined
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from millstream.connectors.http import HttpConfig, HttpConnector
from millstream.kernel import AuthError, ConfigError, PlantError, ProtocolViolation, Unreachable
from millstream.model import (
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Sample,
)
from millstream.sdk import ConnectorTools, Tag
from millstream.sdk.testing import VirtualClock

WAIT_S = 60.0


def connector(port: int, tools: ConnectorTools | None = None, **config: Any) -> HttpConnector:
    fields = {"mode": "poll", "url": f"http://127.0.0.1:{port}/", **config}
    return HttpConnector(HttpConfig.model_validate(fields), tools or ConnectorTools())


async def read(port: int, *addresses: str, **config: Any) -> list[Sample]:
    async with asyncio.timeout(WAIT_S), connector(port, **config).open() as session:
        return list(await session.read([Tag(address, address) for address in addresses]))  # type: ignore[union-attr]


async def error_of(port: int, *addresses: str, **config: Any) -> PlantError:
    with pytest.raises(PlantError) as caught:
        await read(port, *(addresses or ("$.n",)), **config)
    return caught.value


class Site:
    """What the good server says, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.bodies: list[bytes] = []
        self.value = 7

    async def values(self, request: Request) -> Response:
        self.asked.append(request)
        self.bodies.append(await request.body())
        tag = f'"{self.value}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304)
        return JSONResponse({"n": self.value, "text": "7.5", "at": "2026-01-01T00:00:00Z"}, headers={"ETag": tag})

    async def guarded(self, request: Request) -> Response:
        self.asked.append(request)
        given = request.headers.get("authorization") or request.headers.get("x-api-key")
        right = ("Bearer s3cret", "Basic cmVhZGVyOnMzY3JldA==", "s3cret")
        return JSONResponse({"n": 1}) if given in right else Response(status_code=401)


@asynccontextmanager
async def site() -> AsyncIterator[tuple[Site, int]]:
    state = Site()

    async def plain(_: Request) -> Response:
        return PlainTextResponse("21.5")

    async def moved(_: Request) -> Response:
        return RedirectResponse("/values")

    async def forbidden(_: Request) -> Response:
        return Response(status_code=403)

    routes = [
        Route("/", state.values, methods=["GET", "POST"]), Route("/values", state.values),
        Route("/guarded", state.guarded), Route("/plain", plain), Route("/moved", moved),
        Route("/forbidden", forbidden),
    ]  # fmt: skip
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off"))
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(WAIT_S):
            while not server.started:
                await asyncio.sleep(0.01)
        yield state, listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listening.close()


async def test_values_are_read_each_path_once_with_their_time_and_their_quality() -> None:
    async with site() as (state, port):
        tags = [
            Tag("n", "$.n"), Tag("n2", "values#$.n"), Tag("text", "values#$.text", options={"data_type": "float"}),
            Tag("wrong", "values#$.at", options={"data_type": "int"}), Tag("plain", "plain"), Tag("no", "nowhere#$.n"),
            Tag("moved", "moved#$.n"), Tag("forbidden", "forbidden"), Tag("missing", "$.nope"),
        ]  # fmt: skip
        async with connector(port, timestamp_path="$.at").open() as session:
            state.asked.clear()
            samples = await session.read(tags)  # type: ignore[union-attr]
    at = 1_767_225_600_000_000_000
    assert samples == [
        Sample("n", 7, GOOD, at), Sample("n2", 7, GOOD, at), Sample("text", 7.5, GOOD, at),
        Sample("wrong", None, BAD_TYPE_MISMATCH, at), Sample("plain", 21.5), Sample("no", None, BAD_NODE_ID_UNKNOWN),
        Sample("moved", None, BAD_NOT_READABLE), Sample("forbidden", None, Quality(0x801F0000)),
        Sample("missing", None, BAD_DATA_UNAVAILABLE, at),
    ]  # fmt: skip
    assert len(state.asked) == 2


async def test_an_unchanged_body_is_not_fetched_again() -> None:
    async with site() as (state, port), connector(port).open() as session:
        first = await session.read([Tag("n", "$.n")])  # type: ignore[union-attr]
        again = await session.read([Tag("n", "$.n")])  # type: ignore[union-attr]
        state.value = 8
        changed = await session.read([Tag("n", "$.n")])  # type: ignore[union-attr]
        assert [s.value for s in (*first, *again, *changed)] == [7, 7, 8]
        assert [request.headers.get("if-none-match") for request in state.asked] == [None, '"7"', '"7"', '"7"']


async def test_a_post_sends_its_body_and_opening_does_not_post() -> None:
    async with site() as (state, port):
        async with connector(port, method="POST", body='{"ask":1}', headers={"X-Client": "edge"}).open() as session:
            assert state.asked == []
            await session.read([Tag("n", "$.n")])  # type: ignore[union-attr]
        assert state.bodies == [b'{"ask":1}']
        assert state.asked[0].headers["x-client"] == "edge"
        assert state.asked[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "auth", [{"auth": "bearer"}, {"auth": "basic", "user": "reader"}, {"auth": "header", "auth_header": "X-API-Key"}]
)
async def test_each_kind_of_credentials_is_taken_and_a_wrong_one_stops(tmp_path: Path, auth: dict[str, str]) -> None:
    (tmp_path / "right").write_text("s3cret\n")
    (tmp_path / "wrong").write_text("wr0ng")
    async with site() as (_, port):
        url = f"http://127.0.0.1:{port}/guarded"
        right = {"url": url, "secret": {"file": str(tmp_path / "right")}, **auth}
        assert [s.value for s in await read(port, "$.n", **right)] == [1]
        error = await error_of(port, "$.n", **{**right, "secret": {"file": str(tmp_path / "wrong")}})
        assert (type(error), error.code) == (AuthError, "MS-1602")
        assert "wr0ng" not in str(error)


async def test_a_server_that_is_busy_is_left_alone_as_long_as_it_asks() -> None:
    clock = VirtualClock()
    answers = {"/": ok(b'{"n": 1}'), "/busy": status(503, headers="Retry-After: 30\r\n")}
    async with joined(HttpPeer({}, (), answer=lambda path, _h, _b: answers[path])) as peer:
        tags = [Tag("n", "$.n"), Tag("b", "busy#$.n")]
        async with connector(peer.port, ConnectorTools(clock=clock)).open() as session:
            for _ in range(3):
                samples = await session.read(tags)  # type: ignore[union-attr]
                assert [(s.value, s.quality) for s in samples] == [(1, GOOD), (None, BAD_DATA_UNAVAILABLE)]
            assert peer.paths.count("/busy") == 1
            await clock.advance(31)
            answers["/busy"] = ok(b'{"n": 2}')
            assert [s.value for s in await session.read(tags)] == [1, 2]  # type: ignore[union-attr]
        answers["/"] = status(429, headers="Retry-After: 17\r\n")
        error = await error_of(peer.port)
        assert isinstance(error, Unreachable)
        assert (error.retry_after_s, error.code) == (17.0, "MS-1605")


async def test_a_slow_server_costs_one_timeout_and_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = HttpPeer({}, (), answer=lambda _p, _h, _b: ok(b'{"n": 1}'), pace_s=0.2)
    async with joined(peer):
        error = await error_of(peer.port, timeout="300ms")
        assert (type(error), error.code) == (Unreachable, "MS-1601")


HOSTILE = {
    "huge": (lambda: ok(b'"' + b"x" * 5000 + b'"'), BAD_DECODING_ERROR),
    "huge_head": (lambda: b"HTTP/1.1 200 X\r\nX: " + b"x" * 300_000 + b"\r\n\r\n", "MS-1603"),
    "packed": (
        lambda: ok(gzip.compress(b"0" * 10_000_000), headers="Content-Encoding: gzip\r\n"),
        BAD_DECODING_ERROR,
    ),
    "half": (lambda: ok(b'{"n": 1}')[:-3], "MS-1601"),
    "half_head": (lambda: b"HTTP/1.1 200 OK\r\nConte", "MS-1601"),
    "nothing": (lambda: b"", "MS-1601"),
    "no_http": (lambda: b"220 mail.example ESMTP\r\n\r\n", "MS-1603"),
    "no_json": (lambda: ok(b"<html>"), BAD_DECODING_ERROR),
    "deep": (lambda: ok(b"[" * 3000), BAD_DECODING_ERROR),
    "endless": (
        lambda: b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000,
        BAD_DECODING_ERROR,
    ),
    "teapot": (lambda: status(418), BAD_NOT_READABLE),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_is_bad_quality_or_a_fault_with_a_code(name: str) -> None:
    make, expected = HOSTILE[name]
    bad = [False]
    peer = HttpPeer({}, (), answer=lambda _p, _h, _b: make() if bad[0] else ok(b'{"n": 1}'))
    async with joined(peer), connector(peer.port, bytes_max=4096, timeout="3s").open() as session:
        bad[0] = True
        if isinstance(expected, str):
            with pytest.raises((Unreachable, ProtocolViolation)) as caught:
                await session.read([Tag("n", "$.n")])  # type: ignore[union-attr]
            assert caught.value.code == expected
        else:
            assert await session.read([Tag("n", "$.n")]) == [Sample("n", None, expected)]  # type: ignore[union-attr]
        bad[0] = False
        assert [s.value for s in await session.read([Tag("n", "$.n")])] == [1]  # type: ignore[union-attr]


async def test_one_dead_path_beside_good_ones_is_bad_quality_only() -> None:
    peer = HttpPeer({}, (), answer=lambda path, _h, _b: ok(b'{"n": 1}') if path == "/" else b"")
    async with joined(peer):
        samples = await read(peer.port, "$.n", "dead#$.n")
    assert [(s.value, s.quality) for s in samples] == [(1, GOOD), (None, BAD_NO_COMMUNICATION)]


async def test_a_certificate_is_checked() -> None:
    async with site() as (_, port):
        error = await error_of(port, url=f"https://127.0.0.1:{port}/")
        assert (type(error), error.code) == (Unreachable, "MS-0225")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": None}, {"url": "ftp://x"}, {"url": "http://user:secret@x"}, {"auth": "bearer"}, {"user": "x"},
        {"body": "{}"}, {"headers": {"Authorization": "x"}}, {"headers": {"A b": "x"}}, {"headers": {"A": "x\r\ny"}},
        {"auth": "hmac", "secret": {"env": "X"}}, {"timestamp_path": "x"}, {"timeout": "60s"}, {"path": "x"},
        {"mode": "webhook", "auth": "basic", "user": "x", "secret": {"env": "X"}},
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpConfig.model_validate({"mode": "poll", "url": "http://x/", **wrong})


def test_a_tag_that_cannot_be_right_is_refused() -> None:
    for tag in (Tag("a", "a b"), Tag("a", "$.a", options={"x": 1})):
        with pytest.raises(ConfigError) as caught:
            connector(1).check_tag(tag)
        assert caught.value.code == "MS-1600"

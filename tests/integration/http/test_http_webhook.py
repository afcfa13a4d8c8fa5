"""Webhooks with real senders: answered when stored, each once, and bounded."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import Authority
from edge_kit import edge_node, edge_process, status_of, stored_values, until, write_edge

from millstream.connectors.http import HttpConfig, HttpConnector
from millstream.connectors.http._webhook_session import POSTS_WAITING_MAX, SAMPLES_BATCH_MAX, WebhookSession
from millstream.kernel import DecodeError, Unreachable, free_port
from millstream.model import BAD_TYPE_MISMATCH, GOOD, Sample
from millstream.sdk import Batch, ConnectorTools, Position, Tag

WAIT_S = 60.0
TAGS = (Tag("n", "$.n", options={"data_type": "int"}), Tag("text", "$.text"), Tag("door", "door#$.open"))


class Store:
    """What a runtime does with batches: keep them, then acknowledge."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.may_ack = asyncio.Event()
        self.may_ack.set()

    async def run(self, session: WebhookSession, resume: Position | None) -> None:
        async with aclosing(session.stream(TAGS, resume)) as stream:
            async for batch in stream:
                self.batches.append(batch)
                await self.may_ack.wait()
                assert batch.position is not None
                await session.ack(batch.position)

    @property
    def samples(self) -> list[Sample]:
        return [sample for batch in self.batches for sample in batch.samples]

    @property
    def reasons(self) -> list[str]:
        return [reason for batch in self.batches for _, reason in batch.frames_bad]


@asynccontextmanager
async def webhook(
    resume: Position | None = None, base: str = "http", **config: Any
) -> AsyncIterator[tuple[Store, httpx.AsyncClient]]:
    """A session with its store, and a sender."""
    model = HttpConfig.model_validate({"mode": "webhook", "port": 0, "path": "/in", **config})
    store = Store()
    async with HttpConnector(model, ConnectorTools()).open() as session:
        assert isinstance(session, WebhookSession)
        storing = asyncio.get_running_loop().create_task(store.run(session, resume))
        url = f"{base}://127.0.0.1:{session.port}/in"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, trust_env=False) as client:
                yield store, client
        finally:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)


async def test_what_is_posted_is_stored_before_it_is_answered() -> None:
    async with webhook(answer_status=202) as (store, client):
        store.may_ack.clear()
        posting = asyncio.ensure_future(client.post("", json={"n": 1, "text": "a"}))
        while not store.batches:
            await asyncio.sleep(0.01)
        assert not posting.done()
        store.may_ack.set()
        assert (await posting).status_code == 202
        assert store.samples == [Sample("n", 1), Sample("text", "a")]


async def test_an_event_a_list_of_them_and_a_list_within_are_read_with_their_times() -> None:
    async with webhook(timestamp_path="$.at", timestamp_unit="ms") as (store, client):
        assert (await client.post("", json={"n": 1, "at": 5})).status_code == 200
        assert (await client.put("", json=[{"n": 2, "at": 6}, {"n": "x"}])).status_code == 200
        assert (await client.post("/door", json={"open": True})).status_code == 200
    assert store.samples == [
        Sample("n", 1, GOOD, 5_000_000), Sample("n", 2, GOOD, 6_000_000), Sample("n", None, BAD_TYPE_MISMATCH),
        Sample("door", True),
    ]  # fmt: skip
    async with webhook(items_path="$.events") as (store, client):
        assert (await client.post("", json={"events": [{"n": 3}, {"n": 4}]})).status_code == 200
        assert (await client.post("", json={"n": 5})).status_code == 400
    assert [sample.value for sample in store.samples] == [3, 4]


async def test_junk_is_a_dead_letter_and_is_answered_as_such() -> None:
    async with webhook(timestamp_path="$.at") as (store, client):
        for content in (b"", b'{"n": 1', b"\xff", b'{"other": 1}', b'{"n": 1, "at": "noon"}', b"[" * 5000):
            assert (await client.post("", content=content)).status_code == 400
        mixed = await client.post("", json=[{"n": 1, "at": "noon"}, {"n": 2}])
        assert mixed.status_code == 200
        many = await client.post("", json=[{"n": i} for i in range(SAMPLES_BATCH_MAX + 1)])
        assert many.status_code == 413
    assert [sample.value for sample in store.samples] == [2]
    assert len(store.reasons) == 8
    assert all(reason.startswith("/: ") for reason in store.reasons)


async def test_a_request_that_is_not_for_us_is_refused_before_its_body_is_read() -> None:
    async with webhook(bytes_max=1000) as (store, client):
        assert (await client.get("")).status_code == 405
        assert (await client.post("../out", json={})).status_code == 404
        assert (await client.post("/nobody", json={"n": 1})).status_code == 404
        assert (await client.post("", content=b"x" * 1001)).status_code == 413
        assert (await client.post("", content=b"x", headers={"Content-Encoding": "gzip"})).status_code == 415

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 100

        assert (await client.post("", content=endless())).status_code == 413
        assert (await client.post("", json={"n": 1})).status_code == 200
    assert store.reasons == []


async def test_a_token_and_a_signature_are_checked(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("right")
    secret = {"file": str(tmp_path / "key")}
    async with webhook(auth="bearer", secret=secret) as (store, client):
        for header, expected in (("Bearer right", 200), ("Bearer wrong", 401), ("Basic right", 401)):
            reply = await client.post("", json={"n": 1}, headers={"Authorization": header})
            assert reply.status_code == expected
        assert (await client.post("", json={"n": 1})).status_code == 401
    assert len(store.samples) == 1
    async with webhook(auth="hmac", secret=secret) as (store, client):
        body = b'{"n": 1}'
        signature = "sha256=" + hmac.new(b"right", body, hashlib.sha256).hexdigest()
        for content, expected in ((body, 200), (b'{"n": 2}', 401)):
            reply = await client.post("", content=content, headers={"X-Hub-Signature-256": signature})
            assert reply.status_code == expected
    assert [sample.value for sample in store.samples] == [1]


async def test_a_named_request_that_comes_again_is_stored_once_over_sessions_too() -> None:
    async with webhook(id_header="Idempotency-Key") as (store, client):
        for name in ("a", "b", "a"):
            reply = await client.post("", json={"n": 1}, headers={"Idempotency-Key": name})
            assert reply.status_code == 200
        junk = await client.post("", content=b"no", headers={"Idempotency-Key": "c"})
        assert junk.status_code == 400
        assert len(store.samples) == 2
        last = store.batches[-1].position
    async with webhook(last, id_header="Idempotency-Key") as (store, client):
        for name in ("a", "b", "c"):
            reply = await client.post("", json={"n": 2}, headers={"Idempotency-Key": name})
            assert reply.status_code == 200
        assert len(store.samples) == 1


async def test_one_that_comes_again_while_it_is_under_way_waits_for_the_same_answer() -> None:
    async with webhook(id_header="Idempotency-Key") as (store, client):
        store.may_ack.clear()
        headers = {"Idempotency-Key": "a"}
        posting = [asyncio.ensure_future(client.post("", json={"n": 1}, headers=headers)) for _ in range(3)]
        while not store.batches:
            await asyncio.sleep(0.01)
        store.may_ack.set()
        assert [reply.status_code for reply in await asyncio.gather(*posting)] == [200, 200, 200]
        assert len(store.samples) == 1


async def test_nobody_who_stores_means_send_it_again_and_too_many_at_once_too() -> None:
    async with webhook(answer_timeout="300ms") as (store, client):
        store.may_ack.clear()
        replies = await asyncio.gather(*(client.post("", json={"n": i}) for i in range(POSTS_WAITING_MAX + 10)))
        assert {reply.status_code for reply in replies} == {503}
        assert all(reply.headers["Retry-After"] == "1" for reply in replies)
        store.may_ack.set()
        again = await client.post("", json={"n": 1})
        assert again.status_code == 200


async def test_senders_that_are_slow_silent_or_no_http_cost_a_connection_for_a_moment_only() -> None:
    async with webhook(timeout="300ms") as (store, client):
        port = client.base_url.port
        for raw in (b"", b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Le", b"\x16\x03\x01\x02\x00", b"GET\r\n" * 9000,
                    b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"):  # fmt: skip
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            async with asyncio.timeout(WAIT_S):
                with suppress(ConnectionError):
                    await reader.read()
            writer.close()
        assert (await client.post("", json={"n": 1})).status_code == 200
        assert len(store.samples) == 1


async def test_a_listener_with_a_certificate_speaks_https_and_a_poll_checks_it(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    listener, expired = authority.sign("listener"), authority.sign("old", is_expired=True)
    codes: dict[str, str] = {}
    for name, signed, ca_file in (
        ("good", listener, authority.ca_file), ("untrusted", listener, other.ca_file),
        ("expired", expired, authority.ca_file),
    ):  # fmt: skip
        async with webhook(certificate=str(signed.certificate), key=str(signed.key), base="https") as (_, client):
            fields = {"mode": "poll", "url": str(client.base_url), "ca_file": str(ca_file)}
            try:
                async with HttpConnector(HttpConfig.model_validate(fields), ConnectorTools()).open():
                    codes[name] = "good"  # it answers 405, so the link stands
            except Unreachable as error:
                codes[name] = error.code
    assert codes == {"good": "good", "untrusted": "MS-0221", "expired": "MS-0220"}


async def test_a_second_listener_on_the_port_says_so_and_a_foreign_position_is_refused() -> None:
    async with webhook() as (_, client):
        with pytest.raises(Unreachable) as caught:
            async with webhook(port=client.base_url.port):
                pass
        assert caught.value.code == "MS-0601"
    async with webhook() as (store, _):
        config = HttpConfig.model_validate({"mode": "webhook", "port": 0})
        async with HttpConnector(config, ConnectorTools()).open() as session:
            with pytest.raises(DecodeError):
                await store.run(session, Position(b"7"))  # type: ignore[arg-type]


EDGE = """
  - name: hook
    type: http
    path: hook
    config: {{mode: webhook, port: {port}, path: /in, id_header: X-Request-Id}}
    tags:
      - {{name: n, address: $.n}}
"""


async def test_kill_9_of_an_edge_loses_and_doubles_nothing_of_senders_that_try_again(tmp_path: Path) -> None:
    port = free_port()
    path = write_edge(tmp_path, EDGE.format(port=port))
    answered: list[int] = []
    next_number = iter(range(10**6))

    def post(number: int) -> bool:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/in", json.dumps({"n": number}).encode(), {"X-Request-Id": f"r{number}"}
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=WAIT_S) as reply:
                return reply.status == 200
        except OSError:
            return False

    async def send_for_ever() -> None:
        while True:
            number = next(next_number)
            while not await asyncio.to_thread(post, number):
                await asyncio.sleep(0.05)
            answered.append(number)

    async with asyncio.TaskGroup() as group:
        senders = [group.create_task(send_for_ever()) for _ in range(4)]
        for turn in range(1, 3):
            async with edge_process(path):
                await until(lambda turn=turn: len(answered) >= 40 * turn)  # type: ignore[misc]
        async with edge_node(path) as node:
            await until(lambda: len(answered) >= 120, lambda: status_of(node))
            for sender in senders:
                sender.cancel()
            await asyncio.wait(senders)
            values, verifier = await stored_values(node)
    assert set(answered) <= set(values["n"])
    assert len(values["n"]) == len(set(values["n"]))
    assert verifier.accounts["E_e1_I"].is_clean

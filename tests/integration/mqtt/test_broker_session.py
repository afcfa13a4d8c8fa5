"""A session with Mosquitto: nothing is acknowledged before it is stored."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cases import mosquitto_peer
from cases.mosquitto_peer import broker, program, published, publisher

from millstream.connectors.mqtt import BrokerSession, MqttConfig, MqttConnector
from millstream.kernel import AuthError, ProtocolViolation, Unreachable
from millstream.model import Sample
from millstream.protocols.mqtt_window import Identifiers, StoredPosition
from millstream.sdk import Batch, ConnectorTools, Position, Tag

TAG = Tag("n", "scale/count#$.n")


def connector(port: int, **config: Any) -> MqttConnector:
    return MqttConnector(
        MqttConfig.model_validate(
            {"source": "broker", "host": "127.0.0.1", "port": port, "client_id": "edge1", **config}
        ),
        ConnectorTools(),
    )


async def take(stream: Any, count: int) -> list[Batch]:
    """Batches until they hold so many samples."""
    found: list[Batch] = []
    async with asyncio.timeout(60):
        while sum(len(batch.samples) for batch in found) < count:
            found.append(await anext(stream))
    return found


async def values_up_to(stream: Any, last: int) -> list[Any]:
    """Values until `last`; without those of `subscribed`, whose acknowledgement may cross its disconnect."""
    found: list[Any] = []
    while not found or found[-1] != last:
        found += [sample.value for sample in samples(await take(stream, 1))]
    return [value for value in found if value is None or value > 0]


def samples(batches: Sequence[Batch]) -> list[Sample]:
    return [sample for batch in batches for sample in batch.samples]


def number_of(position: Position) -> int:
    """The running number in a position."""
    decoded = StoredPosition.decode(position)
    assert decoded is not None
    return decoded.number


@asynccontextmanager
async def streaming(mqtt: MqttConnector, tags: Sequence[Tag] = (TAG,)) -> AsyncIterator[tuple[BrokerSession, Any]]:
    async with mqtt.open() as session:
        assert isinstance(session, BrokerSession)
        async with aclosing(session.stream(tags, None)) as stream:
            yield session, stream


async def subscribed(mqtt: MqttConnector, client: mosquitto_peer.paho.Client, tags: Sequence[Tag] = (TAG,)) -> None:
    """Leave a subscription in the broker's persistent session."""
    async with streaming(mqtt, tags) as (session, stream):
        first = asyncio.ensure_future(take(stream, 1))
        while not first.done():
            await published(client, "scale/count", b'{"n": 0}')
        batches = await first
        await published(client, "scale/count", b'{"n": -1}')
        while samples(batches)[-1].value != -1:
            batches += await take(stream, 1)
        position = batches[-1].position
        assert position is not None
        await session.ack(position)


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_was_received_but_not_stored_comes_again_and_what_was_stored_does_not(
    tmp_path: Path, version: str
) -> None:
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        mqtt = connector(peer.port, version=version)
        await subscribed(mqtt, client)
        await published(client, "scale/count", *(b'{"n": %d}' % n for n in range(1, 11)))
        async with streaming(mqtt) as (session, stream):
            positions = {}
            while 10 not in positions:
                for batch in await take(stream, 1):
                    assert batch.position is not None
                    first = number_of(batch.position) - len(batch.samples) + 1
                    positions |= {sample.value: first + i for i, sample in enumerate(batch.samples)}
            assert [value for value in positions if value > 0] == list(range(1, 11))
            await session.ack(
                Position(StoredPosition(Identifiers.UNKNOWN, positions[4], 0, ()).encode())
            )  # four are stored
        # the consumer ends here without having stored the other six: none of them may be lost
        async with streaming(mqtt) as (_, stream):
            assert await values_up_to(stream, 10) == list(range(5, 11))


@pytest.mark.needs("mosquitto")
async def test_messages_wait_at_the_broker_while_the_edge_is_away_even_over_its_restart(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        mqtt = connector(peer.port)
        await subscribed(mqtt, client)
        await published(client, "scale/count", b'{"n": 1}', b'{"n": 2}')
        await peer.stop()
        await peer.start()
        async with streaming(mqtt) as (_, stream):
            assert await values_up_to(stream, 2) == [1, 2]


@pytest.mark.needs("mosquitto")
async def test_a_wrong_password_stops_and_is_not_tried_again(tmp_path: Path) -> None:
    secret = tmp_path / "wrong"
    secret.write_text("not it")
    async with broker(tmp_path, password="right") as peer:
        for version in ("3.1.1", "5"):
            mqtt = connector(peer.port, user="edge", secret={"file": str(secret)}, version=version)
            with pytest.raises(AuthError, match="MS-0201"):
                async with mqtt.open():
                    pass
        secret.write_text("right\n")
        async with connector(peer.port, user="edge", secret={"file": str(secret)}).open():
            pass


@pytest.mark.needs("mosquitto", "mosquitto_pub")
async def test_malformed_payloads_are_kept_with_their_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        mqtt = connector(peer.port)
        await subscribed(mqtt, client)
        await published(client, "scale/count", b'{"n": 1}', b'{"n": ', b'{"n": "\xff"}', b"", b'{"n": 2}')
        pub = await asyncio.create_subprocess_exec(
            program("mosquitto_pub"), "-p", str(peer.port), "-q", "1", "-t", "scale/count", "-m", '{"n": 3}'
        )
        assert await pub.wait() == 0
        async with streaming(mqtt) as (_, stream):
            batches = await take(stream, 6)
            while samples(batches)[-1].value != 3:
                batches += await take(stream, 1)
        found = [sample for sample in samples(batches) if sample.value is None or sample.value > 0]  # type: ignore[operator]
        assert [sample.value for sample in found] == [1, None, None, None, 2, 3]
        assert [s.quality.label for s in found] == ["Good", *["BadTypeMismatch"] * 3, "Good", "Good"]
        bad = [frame for batch in batches for frame in batch.frames_bad]
        assert [raw for raw, _ in bad] == [b'{"n": ', b'{"n": "\xff"}', b""]
        assert all("scale/count" in reason for _, reason in bad)


@pytest.mark.needs("mosquitto")
async def test_topics_become_tags_by_themselves(tmp_path: Path) -> None:
    async with broker(tmp_path) as peer, publisher(peer.port) as client:
        mqtt = connector(
            peer.port, auto_map=[{"filter": "plant/line1/#", "path": "acme/p1/line1"}], timestamp_path="$.t"
        )
        await subscribed(mqtt, client)
        async with streaming(mqtt) as (_, stream):
            client.publish("scale/count", b'{"n": 5}', qos=1)
            first = asyncio.ensure_future(take(stream, 1))
            client.publish("plant/line1/press/3", b'{"t": 5, "force": 1.5, "axis:x": {"on": true}}', qos=1)
            client.publish("plant/line1/state", b"running", qos=1)
            found = {sample.tag: sample for sample in samples(await first)}
            while len(found) < 5:
                found |= {sample.tag: sample for sample in samples(await take(stream, 1))}
        assert found["acme/p1/line1:press/3/force"].value == 1.5
        assert found["acme/p1/line1:press/3/force"].source_time_ns == 5
        assert found["acme/p1/line1:press/3/axis%3Ax/on"].value is True
        assert found["acme/p1/line1:press/3/t"].value == 5
        assert found["acme/p1/line1:state"] == Sample("acme/p1/line1:state", "running")


@pytest.mark.needs("mosquitto")
async def test_a_backlog_larger_than_the_inbox_holds_the_broker_back_and_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.mqtt._link.INBOX_MESSAGES_MAX", 10)
    async with broker(tmp_path, extra="max_inflight_messages 0") as peer, publisher(peer.port) as client:
        mqtt = connector(peer.port)
        await subscribed(mqtt, client)
        async with streaming(mqtt) as (session, stream):
            await published(client, "scale/count", *(b'{"n": %d}' % n for n in range(900)))
            await asyncio.wait_for(_until(lambda: session.link.is_held), 60)
            assert session.link.inbox_count < 900 + 10
            assert await values_up_to(stream, 899) == list(range(1, 900))
            assert not session.link.is_held


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@asynccontextmanager
async def fake_broker(*answers: bytes) -> AsyncIterator[int]:
    """Sends each answer after something was received, then waits."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            for answer in answers:
                await reader.read(4096)
                if not answer:
                    return
                writer.write(answer)
            while await reader.read(4096):
                pass
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x03\x00\x01\x01"


async def test_a_broker_that_hangs_up_or_says_nothing_is_unreachable() -> None:
    async with fake_broker(b"") as port:
        with pytest.raises(Unreachable, match="instead of accepting"):
            async with connector(port).open():
                pass
    async with fake_broker() as port:
        with pytest.raises(Unreachable, match="in time"):
            async with connector(port, connect_timeout="200ms").open():
                pass


async def test_a_subscription_without_an_answer_is_unreachable() -> None:
    async with fake_broker(CONNACK) as port, streaming(connector(port, connect_timeout="200ms")) as (_, stream):
        with pytest.raises(Unreachable, match="subscription"):
            await anext(stream)


async def test_a_refused_subscription_makes_its_tags_bad() -> None:
    async with fake_broker(CONNACK, b"\x90\x03\x00\x01\x80") as port, streaming(connector(port)) as (_, stream):
        (sample,) = (await anext(stream)).samples
        assert sample.tag == "n"
        assert sample.quality.is_bad


async def test_a_packet_that_is_not_mqtt_is_a_violation_of_the_protocol() -> None:
    poison = SUBACK + b"\x30\x02\xff\xff"
    async with fake_broker(CONNACK, poison) as port, streaming(connector(port)) as (_, stream):
        with pytest.raises(ProtocolViolation) as caught:
            await asyncio.wait_for(anext(stream), 60)
    assert caught.value.frame == b"\x30\x02\xff\xff"


async def test_a_topic_that_is_not_utf8_is_kept_as_a_bad_frame() -> None:
    topic = b"a\xff/b"
    body = struct.pack("!H", len(topic)) + topic + b"42"
    publish = SUBACK + bytes([0x30, len(body)]) + body
    async with fake_broker(CONNACK, publish) as port, streaming(connector(port)) as (_, stream):
        batch = await asyncio.wait_for(anext(stream), 60)
        assert batch.frames_bad[0][0] == b"42"
        assert "UTF-8" in batch.frames_bad[0][1]

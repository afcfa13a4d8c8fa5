"""kill -9 of `millstream notify` between the effect of a message and its line in the journal, on all its channels."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from email import message_from_bytes
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, Envelope

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "conformance"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "client"))
from cases.mosquitto_peer import broker, publisher
from fake_node import fake_node

import millstream
import warm
from millstream.client import Plant
from millstream.protocols.alarm import NOTIFY_TYPE, AlarmNote, Notification

NOTE = AlarmNote("raised", "unacknowledged", "high", 1, is_active=True, message="oil is hot")
CHANNELS = ("hook", "once", "mail", "room")


class Outside:
    """A web server, a mail server (aiosmtpd) and the way to a broker (Mosquitto): what each of them took, by its key.
    While they are `mute` they take a message and their answer does not come."""

    def __init__(self) -> None:
        self.is_mute = True
        self.took: dict[str, list[str]] = {name: [] for name in CHANNELS}

    async def hook(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One POST."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = json.loads(await reader.readexactly(int(fields["content-length"])))
        assert body["id"] == fields["idempotency-key"]
        self.took[head[0].split()[1].strip("/")].append(fields["idempotency-key"])
        if self.is_mute:
            await reader.read()  # until it is gone
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        writer.close()

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope) -> str:
        """One message."""
        assert isinstance(envelope.content, bytes)
        self.took["mail"].append(f"{message_from_bytes(envelope.content)['Message-ID']} {len(envelope.rcpt_tos)}")
        if self.is_mute:
            await asyncio.Event().wait()
        return "250 taken"

    async def to_broker(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both ways; behind CONNACK (MQTT 3.1.1, 3.2) nothing of the broker, while it is mute."""
        there, back = await asyncio.open_connection("127.0.0.1", port)

        async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_answer: bool) -> None:
            with suppress(ConnectionError):
                first = await source.readexactly(4) if is_answer else b""
                while data := first or await source.read(65536):
                    if first or not (is_answer and self.is_mute):
                        to.write(data)
                        await to.drain()
                    first = b""
            to.close()

        await asyncio.gather(
            pass_on(reader, back, is_answer=False), pass_on(there, writer, is_answer=True), return_exceptions=True
        )


@asynccontextmanager
async def outside(folder: Path) -> AsyncIterator[tuple[Outside, dict[str, Any]]]:
    """Running, with the channels of a sender's file."""
    found, loop = Outside(), asyncio.get_running_loop()
    async with broker(folder) as peer, publisher(peer.port) as client:
        granted = asyncio.Event()
        client.on_subscribe = lambda *_: loop.call_soon_threadsafe(granted.set)
        client.on_message = lambda _client, _data, message: loop.call_soon_threadsafe(
            found.took["room"].append, json.loads(message.payload)["id"]
        )
        client.subscribe("acme/#", qos=1)
        async with (
            await asyncio.start_server(found.hook, "127.0.0.1", 0) as hooks,
            await loop.create_server(lambda: SMTP(found, hostname="mail.acme.example"), "127.0.0.1", 0) as mails,
            await asyncio.start_server(lambda r, w: found.to_broker(peer.port, r, w), "127.0.0.1", 0) as way,
        ):
            await granted.wait()
            web, mail, room = (server.sockets[0].getsockname()[1] for server in (hooks, mails, way))
            url, to = f"http://127.0.0.1:{web}", ["ada@acme.example", "bob@acme.example"]
            yield found, {
                "hook": {"type": "webhook", "url": f"{url}/hook"},
                "once": {"type": "webhook", "url": f"{url}/once", "again": False},
                "mail": {
                    "type": "mail", "host": "127.0.0.1", "port": mail, "security": "none", "to": to,
                    "sender": "plant@acme.example",
                },
                "room": {"type": "mqtt", "broker": {"host": "127.0.0.1", "port": room}, "topic": "acme/alarms"},
            }  # fmt: skip


@asynccontextmanager
async def sender(folder: Path, node: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """`millstream notify` as a process of its own; killed (SIGKILL) in the end."""
    words = warm.python("-m", "millstream", "notify", "-c", str(folder / "notify.yaml"), "--node", str(node))
    with (folder / "sender.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        await asyncio.to_thread(warm.settle)


async def until(condition: Callable[[], bool], what: str, folder: Path) -> None:
    try:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what}: {(folder / 'sender.log').read_text()[-2000:]}") from None


def journal(folder: Path, id: str) -> dict[str, str]:
    """What its newest lines say of a message, by channel."""
    path = folder / "sent.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["channel"]: row["state"] for row in rows if row["id"] == id}


async def tell(plant: Plant, id: str) -> None:
    told = Notification(id, "acme/press:alarm/hi", "shift", "0", list(CHANNELS), NOTE)
    await plant.event("acme/press:notify/shift", NOTIFY_TYPE, msgspec.to_builtins(told))


@pytest.mark.needs("mosquitto")
async def test_what_a_killed_sender_had_sent_goes_out_again_with_the_same_key_and_what_is_known_never(
    tmp_path: Path,
) -> None:
    async with (
        outside(tmp_path) as (there, channels), fake_node(tmp_path / "edge", "edge", "edge1") as node,
        millstream.connect(node.folder) as plant,
    ):  # fmt: skip
        (tmp_path / "notify.yaml").write_text(json.dumps({"journal": "sent.jsonl", "channels": channels}))
        async with sender(tmp_path, node.folder) as first:
            await until((tmp_path / "sent.jsonl").exists, "the journal", tmp_path)
            await tell(plant, "a/1/shift/0")
            await until(lambda: all(there.took.values()), "each has taken it", tmp_path)
            assert first.poll() is None
        assert journal(tmp_path, "a/1/shift/0") == dict.fromkeys(CHANNELS, "begun"), "nobody has answered"
        there.is_mute = False
        async with sender(tmp_path, node.folder):
            wanted = {**dict.fromkeys(CHANNELS, "sent"), "once": "left"}
            await until(lambda: journal(tmp_path, "a/1/shift/0") == wanted, "each is settled", tmp_path)
        twice = {name: list(keys) for name, keys in there.took.items()}
        assert {name: len(keys) for name, keys in twice.items()} == {"hook": 2, "once": 1, "mail": 2, "room": 2}
        assert [len(set(keys)) for keys in twice.values()] == [1] * 4, "by its key a receiver takes it once"
        async with sender(tmp_path, node.folder):
            await tell(plant, "a/2/shift/0")
            sent = dict.fromkeys(CHANNELS, "sent")
            await until(lambda: journal(tmp_path, "a/2/shift/0") == sent, "the next one", tmp_path)
        await until(lambda: len(there.took["room"]) == 3, "the broker passes it on", tmp_path)
        assert {name: keys[:-1] for name, keys in there.took.items()} == twice, "what is known to be sent is not again"

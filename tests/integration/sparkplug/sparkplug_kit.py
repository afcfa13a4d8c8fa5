"""Foreign Sparkplug programs and our host application, as the tests drive them."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cases.sparkplug_peer import end

import peers
from millstream.bus._server_program import find_program
from millstream.connectors.sparkplug import SparkplugConfig, SparkplugConnector, SparkplugSession
from millstream.kernel import Unreachable, free_port
from millstream.model import Sample
from millstream.sdk import ConnectorTools, Tag

PEERS = Path(__file__).resolve().parents[2] / "peers"
DEADLINE_S = 60.0
FENCE = "fence/watcher"


class ForeignCodec:
    """npm sparkplug-payload as a line service."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def encode(self, payload: dict[str, Any]) -> bytes:
        """Bytes of a payload in its own terms."""
        return base64.b64decode(self._ask({"encode": payload}))

    def decode(self, raw: bytes) -> dict[str, Any]:
        """A payload in its own terms."""
        found = self._ask({"decode": base64.b64encode(raw).decode()})
        assert isinstance(found, dict)
        return found

    def _ask(self, ask: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer["ok"]


async def until(is_so: Callable[[], bool], what: str = "") -> None:
    """Poll until it is so."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():
                await asyncio.sleep(0.01)
    assert is_so(), what


@dataclass
class ForeignNode:
    """An edge node in a process; `heard` is what it says."""

    process: asyncio.subprocess.Process
    heard: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, **ask: Any) -> None:
        """A command."""
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps(ask) + "\n").encode())

    async def listen(self) -> None:
        """Until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.heard.append(json.loads(line))

    def words(self, kind: str) -> list[Any]:
        """What it said of one kind."""
        return [each[kind] for each in self.heard if kind in each]


@asynccontextmanager
async def foreign_node(program: str, port: int, *more: str) -> AsyncIterator[ForeignNode]:
    """sparkplug_edge.js, pysparkplug_edge.py or mqtt_spb_edge.py; born when this returns."""
    runner = {
        "sparkplug_edge.js": "node",
        "pysparkplug_edge.py": str(peers.venv_python("pysparkplug")),
        "mqtt_spb_edge.py": str(peers.venv_python("mqtt-spb-wrapper")),
    }[program]
    process = await asyncio.create_subprocess_exec(
        runner,
        str(PEERS / program),
        str(port),
        *more,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    node = ForeignNode(process)
    listening = asyncio.ensure_future(node.listen())
    try:
        await until(lambda: bool(node.words("born")), f"{program} does not come up")
        yield node
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


@dataclass
class Host:
    """What our host application has told so far."""

    session: SparkplugSession = field(default=None)  # type: ignore[assignment]
    samples: list[Sample] = field(default_factory=list)
    frames_bad: list[tuple[bytes, str]] = field(default_factory=list)
    gaps_count: int = 0
    error: BaseException | None = None

    def of(self, tag: str) -> list[Sample]:
        """The samples of one tag."""
        return [sample for sample in self.samples if sample.tag == tag]

    def last(self, tag: str) -> Any:
        """The newest value by its time; the label of its quality when it is not good. Historical ones come late."""
        found = self.of(tag)
        if not found:
            return None
        newest = max(reversed(found), key=lambda sample: sample.source_time_ns or 0)
        return newest.value if newest.quality.is_good else newest.quality.label

    async def sees(self, **expected: Any) -> None:
        """Wait until the newest values are these; `__` in a name is a slash."""
        wanted = {name.replace("__", "/"): value for name, value in expected.items()}
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                while {name: self.last(name) for name in wanted} != wanted:
                    await asyncio.sleep(0.01)
        found = {name: self.last(name) for name in wanted}
        assert found == wanted, f"expected {wanted}, got {found}, last {self.samples[-8:]}"


def connector(port: int, **config: Any) -> SparkplugConnector:
    """All metrics of all nodes, unless `config` says otherwise."""
    whole = {"host": "127.0.0.1", "port": port, "client_id": "host1", "host_id": "host1", "auto_map": [{}], **config}
    return SparkplugConnector(SparkplugConfig.model_validate(whole), ConnectorTools())


@asynccontextmanager
async def hosting(made: SparkplugConnector, *tags: Tag) -> AsyncIterator[Host]:
    """The host application at work."""
    host = Host()

    async def follow() -> None:
        """Until the link is lost."""
        async with aclosing(host.session.stream(tags, None)) as stream:
            async for batch in stream:
                host.samples += batch.samples
                host.frames_bad += batch.frames_bad
                host.gaps_count += host.session.take_source_gaps()

    async with made.open() as host.session:
        following = asyncio.ensure_future(follow())
        try:
            await until(lambda: host.session._is_born or following.done())  # from here on no birth can be missed
            yield host
        finally:
            following.cancel()
            await asyncio.wait({following})
            if not following.cancelled():
                host.error = following.exception()
                assert isinstance(host.error, Unreachable), repr(host.error)


@dataclass
class Watcher:
    """A client of another make that sees every message: topic, payload, QoS, retain."""

    client: paho.Client
    messages: list[paho.MQTTMessage] = field(default_factory=list)
    fences: int = 0  # of our own that came back

    async def catch_up(self) -> None:
        """Wait for all that the broker (Mosquitto, which keeps the order) took before now: others may have seen it
        already."""
        before = self.fences
        self.client.publish(FENCE, b"", qos=1)
        await until(lambda: self.fences > before)

    def take(self, message: paho.MQTTMessage) -> None:
        """One message, from paho's thread."""
        if message.topic == FENCE:
            self.fences += 1
        else:
            self.messages.append(message)

    def of(self, part: str) -> list[paho.MQTTMessage]:
        """Those whose topic has this in it."""
        return [message for message in self.messages if part in message.topic]


@asynccontextmanager
async def watching(port: int, pattern: str = "spBv1.0/#") -> AsyncIterator[Watcher]:
    """Subscribed when this returns."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="watcher")
    watcher, ready = Watcher(client), asyncio.Event()
    loop = asyncio.get_running_loop()
    client.on_message = lambda _c, _u, message: watcher.take(message)
    client.on_connect = lambda *_rest: client.subscribe([(pattern, 1), (FENCE, 1)])
    client.on_subscribe = lambda *_rest: loop.call_soon_threadsafe(ready.set)
    await asyncio.to_thread(client.connect, "127.0.0.1", port)
    client.loop_start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            await ready.wait()
        yield watcher
    finally:
        await end(client)


@asynccontextmanager
async def nats_listener(folder: Path, extra: str = "") -> AsyncIterator[int]:
    """nats-server with an MQTT listener; its port."""
    port = free_port()
    (folder / "nats.conf").write_text(
        f'server_name: "n"\nlisten: "127.0.0.1:-1"\n'
        f'jetstream {{ store_dir: "{folder}/js" }}\nmqtt {{ listen: "127.0.0.1:{port}" }}\n{extra}\n'
    )
    process = await asyncio.create_subprocess_exec(
        find_program(), "-c", str(folder / "nats.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        await process.wait()

"""An MTConnect agent in this process: a ring buffer of observations behind probe, current and sample."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, quoteattr

from cases.loopback import ListeningPeer


@dataclass(frozen=True)
class Item:
    """A data item of the agent's device model."""

    id: str
    name: str
    category: str = "SAMPLE"
    type: str = "POSITION"
    units: str | None = "MILLIMETER"
    representation: str = "VALUE"

    def xml(self) -> str:
        """As the probe shows it."""
        units = f" units={quoteattr(self.units)}" if self.units else ""
        return (
            f'<DataItem id="{self.id}" name="{self.name}" category="{self.category}" type="{self.type}"'
            f' representation="{self.representation}"{units}/>'
        )


@dataclass(frozen=True)
class Seen:
    """One observation in the buffer: its element as it is sent."""

    sequence: int
    item: Item
    body: str
    attributes: str = ""

    def xml(self) -> str:
        """As it is streamed."""
        time = f"2026-01-01T00:00:{self.sequence % 60:02d}.{self.sequence:06d}Z"
        if self.item.category == "CONDITION":
            head = f'<{self.body} dataItemId="{self.item.id}" sequence="{self.sequence}"'
            return f'{head} timestamp="{time}"{self.attributes}/>'
        return (
            f'<Value dataItemId="{self.item.id}" sequence="{self.sequence}" timestamp="{time}"{self.attributes}>'
            f"{escape(self.body)}</Value>"
        )


@dataclass
class AgentPeer(ListeningPeer):
    """Answers HTTP/1.1 in chunks, so that both framings are read."""

    items: tuple[Item, ...] = ()
    instance_id: int = 1234
    buffer_size: int = 10_000
    buffer: list[Seen] = field(default_factory=list)
    first_sequence: int = 1
    next_sequence: int = 1
    requests: list[str] = field(default_factory=list)
    log: list[Seen] = field(default_factory=list)
    refuses: bool = True
    assets: dict[str, str] = field(default_factory=dict)
    is_poisoned: bool = False
    status: int = 200

    def restart(self) -> None:
        """As an agent that was started anew: other instance, sequences from 1, empty buffer."""
        self.instance_id += 1
        self.buffer.clear()
        self.log.clear()
        self.first_sequence = self.next_sequence = 1

    def observe(self, item: Item, body: str, attributes: str = "") -> None:
        """One more observation; the oldest leaves a full buffer."""
        self.buffer.append(Seen(self.next_sequence, item, body, attributes))
        self.log.append(self.buffer[-1])
        self.next_sequence += 1
        if len(self.buffer) > self.buffer_size:
            self.buffer.pop(0)
            self.first_sequence += 1

    async def produce(self) -> None:
        """One value of each item."""
        for item in self.items:
            self.observe(item, "Normal" if item.category == "CONDITION" else str(float(self.next_sequence)))

    async def poison(self) -> None:
        """The next answer is no document."""
        self.is_poisoned = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        request = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        self.requests.append(request)
        body = self._answer(request)
        head = f"HTTP/1.1 {self.status} X\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        writer.write(head)
        for start in range(0, len(body), 1000):
            part = body[start : start + 1000]
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _answer(self, request: str) -> bytes:
        if self.is_poisoned:
            self.is_poisoned = False
            return b"<html><body>proxy error</body>"
        parts = urlsplit(request)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path.startswith("/asset"):
            return self._assets(unquote(parts.path.removeprefix("/assets").removeprefix("/asset/")))
        match parts.path.rsplit("/", 1)[-1]:
            case "probe":
                return self._probe()
            case "current":
                return self._current(int(query.get("at", self.next_sequence - 1)))
            case "sample":
                return self._sample(int(query["from"]), int(query["count"]))
        raise AssertionError(request)

    def _current(self, at: int) -> bytes:
        """The latest of each item at a sequence, and every condition that held."""
        if at >= self.next_sequence or (at < self.first_sequence and self.buffer):
            return self._out_of_range()
        latest: dict[str, list[Seen]] = {}
        for seen in self.log:
            if seen.sequence <= at:
                held = latest.get(seen.item.id, []) if seen.item.category == "CONDITION" and seen.attributes else []
                held = [other for other in held if other.attributes not in ("", seen.attributes)]
                latest[seen.item.id] = [*held, seen] if seen.body != "Normal" or not held else held
        shown = [seen for held in latest.values() for seen in held]
        return self._streams(sorted(shown, key=lambda seen: seen.sequence), self.next_sequence)

    def _assets(self, asset_id: str) -> bytes:
        found = [self.assets[asset_id]] if asset_id in self.assets else [] if asset_id else list(self.assets.values())
        if not found:
            return b"<MTConnectError><Errors><Error errorCode='ASSET_NOT_FOUND'>none</Error></Errors></MTConnectError>"
        return f"<MTConnectAssets><Header/><Assets>{''.join(found)}</Assets></MTConnectAssets>".encode()

    def _out_of_range(self) -> bytes:
        return (
            b'<MTConnectError xmlns="urn:mtconnect.org:MTConnectError:1.7"><Header/><Errors>'
            b"<Error errorCode='OUT_OF_RANGE'>from is out of range</Error></Errors></MTConnectError>"
        )

    def _sample(self, start: int, count: int) -> bytes:
        if not self.first_sequence <= start <= self.next_sequence and (self.refuses or start > self.next_sequence):
            return self._out_of_range()
        found = [seen for seen in self.buffer if seen.sequence >= start][:count]
        return self._streams(found, found[-1].sequence + 1 if found else start)

    def _streams(self, found: list[Seen], next_sequence: int) -> bytes:
        values = "".join(seen.xml() for seen in found if seen.item.category != "CONDITION")
        conditions = "".join(seen.xml() for seen in found if seen.item.category == "CONDITION")
        return (
            '<?xml version="1.0"?><MTConnectStreams xmlns="urn:mtconnect.org:MTConnectStreams:1.7">'
            f'<Header instanceId="{self.instance_id}" firstSequence="{self.first_sequence}"'
            f' lastSequence="{self.next_sequence - 1}" nextSequence="{next_sequence}"/><Streams><DeviceStream>'
            f"<ComponentStream><Samples>{values}</Samples><Condition>{conditions}</Condition></ComponentStream>"
            "</DeviceStream></Streams></MTConnectStreams>"
        ).encode()

    def _probe(self) -> bytes:
        items = "".join(item.xml() for item in self.items)
        return (
            f'<MTConnectDevices xmlns="urn:mtconnect.org:MTConnectDevices:1.7">'
            f'<Header instanceId="{self.instance_id}"/>'
            f'<Devices><Device name="d" id="d"><DataItems>{items}</DataItems></Device></Devices></MTConnectDevices>'
        ).encode()

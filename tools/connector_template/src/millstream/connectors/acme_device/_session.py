"""A session with one device: the requests of a read go out together, the answers come in their order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from millstream.connectors.acme_device._config import AcmeDeviceConfig
from millstream.kernel import DecodeError, ProtocolViolation, Unreachable
from millstream.model import BAD_NO_COMMUNICATION, GOOD, Sample
from millstream.protocols.acme_device_wire import (
    LINE_BYTES_MAX,
    Answer,
    list_request,
    parse_answer,
    read_request,
    write_request,
)
from millstream.sdk import ConnectorTools, NodeInfo, Tag, Write, WriteResult

REQUESTS_COUNT_MAX = 64  # under way at a time, so that the answers fit what the device may hold back
CLOSE_TIMEOUT_S = 1.0


class AcmeDeviceSession:
    """Polled, Writable, Browsable."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, config: AcmeDeviceConfig) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = config.timeout or None
        self._where = f"{config.host}:{config.port}"

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order. Raises Unreachable when the link is gone, ProtocolViolation for nonsense."""
        samples: list[Sample] = []
        for start in range(0, len(tags), REQUESTS_COUNT_MAX):
            part = tags[start : start + REQUESTS_COUNT_MAX]
            answers = await self._ask([read_request(tag.address) for tag in part])
            samples += [Sample(tag.key, a.value, a.quality) for tag, a in zip(part, answers, strict=True)]
        return samples

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One after the other; a lost link fails this write and all that follow."""
        results: list[WriteResult] = []
        lost: Unreachable | ProtocolViolation | None = None
        for write in writes:
            if lost is None:
                try:
                    (answer,) = await self._ask([write_request(write.tag.address, write.value)])
                    results.append(WriteResult(answer.quality, answer.reason))
                    continue
                except (Unreachable, ProtocolViolation) as error:
                    lost = error
            results.append(WriteResult(BAD_NO_COMMUNICATION, str(lost)))
        return results

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The device's own list of addresses, those that begin with `root`."""
        (answer,) = await self._ask([list_request()])
        names = answer.value if answer.quality == GOOD and isinstance(answer.value, list) else []
        for name in names:
            if isinstance(name, str) and name.startswith(root or ""):
                yield NodeInfo(name, name)

    async def _ask(self, requests: Sequence[bytes]) -> list[Answer]:
        """The answers to all requests. After a failure the link is cut, so that a late answer meets nobody."""
        try:
            async with asyncio.timeout(self._timeout_s):
                self._writer.write(b"".join(requests))
                await self._writer.drain()
                return [await self._answer() for _ in requests]
        except TimeoutError as error:
            self._writer.transport.abort()
            raise Unreachable(f"no answer within {self._timeout_s:g} s", where=self._where) from error
        except OSError as error:
            raise Unreachable(f"connection lost: {error.strerror or error}", where=self._where) from error

    async def _answer(self) -> Answer:
        try:
            line = await self._reader.readline()
        except ValueError as error:  # asyncio's word for a line above its limit
            self._writer.transport.abort()
            raise ProtocolViolation(f"answer is longer than {LINE_BYTES_MAX} bytes", where=self._where) from error
        if not line.endswith(b"\n"):
            raise Unreachable("device closed the connection", where=self._where)
        try:
            return parse_answer(line)
        except DecodeError as error:
            self._writer.transport.abort()
            raise ProtocolViolation(error.what, frame=line, where=self._where, got=error.got) from error


@asynccontextmanager
async def open_session(config: AcmeDeviceConfig, tools: ConnectorTools) -> AsyncIterator[AcmeDeviceSession]:
    """Connect; release on exit. Raises Unreachable."""
    where = f"{config.host}:{config.port}"
    try:
        async with asyncio.timeout(config.connect_timeout or None):
            reader, writer = await asyncio.open_connection(config.host, config.port, limit=LINE_BYTES_MAX)
    except TimeoutError as error:
        raise Unreachable(f"device does not answer within {config.connect_timeout:g} s", where=where) from error
    except OSError as error:
        raise Unreachable(f"device cannot be reached: {error.strerror or error}", where=where) from error
    try:
        yield AcmeDeviceSession(reader, writer, config)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await writer.wait_closed()

"""The hub's own recount of what its streams hold, for hubs without a historian (which recounts in its transaction).

State is in memory and made anew from the streams' beginning at each start. It must match what the streams hold: when a
hub loses its newest data and takes it again, the messages come under other sequence numbers; so after each lost
connection the last message that was fed is compared with what stands there now, and the recount begins anew when it is
another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict

from millstream.bus import RawConnection, StreamApi, StreamReader
from millstream.kernel import Clock, DecodeError, PlantError, SystemClock
from millstream.protocols.ledger import WRITER_HEADER, LedgerVerifier, OriginAccount, parse_stream_source
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block
from millstream.sdk import Received

RETRY_S = 1.0
WAIT_S = 2.5  # longer than the server's heartbeat: what comes is read at once


class HubLedger:
    """Follows the hub's streams and recounts every origin. Run `run` in the node's task group."""

    def __init__(self, connection: RawConnection, streams: Sequence[str], *, clock: Clock | None = None) -> None:
        self._connection = connection
        self._api = StreamApi(connection)
        self._clock = clock or SystemClock()
        self._verifiers = {stream: LedgerVerifier() for stream in streams}

    def accounts(self) -> dict[str, OriginAccount]:
        """The account of each origin."""
        return {name: account for v in self._verifiers.values() for name, account in v.accounts.items()}

    async def run(self) -> None:
        """Recount for ever."""
        async with asyncio.TaskGroup() as group:
            for stream in self._verifiers:
                group.create_task(self._follow(stream), name=f"ledger {stream}")

    async def _follow(self, stream: str) -> None:
        last: Received | None = None
        while True:
            try:
                if last is None or not await self._is_still_there(stream, last):
                    self._verifiers[stream] = LedgerVerifier()
                    last = None
                last = await self._read(stream, last)
            except PlantError:
                await self._clock.sleep(RETRY_S)

    async def _read(self, stream: str, last: Received | None) -> Received | None:
        """Feed until the connection was lost in between; the last message fed."""
        feeder = OriginFeeder(self._verifiers[stream], stream)
        connects = self._connection.connects
        reader = StreamReader(self._connection)
        start_seq = last.seq + 1 if last is not None else 1
        async with aclosing(reader.read(stream, start_seq=start_seq, wait_s=WAIT_S)) as batches:
            async for messages in batches:
                if self._connection.connects != connects:
                    break
                for message in messages:
                    feeder.feed(message)
                if messages:
                    last = messages[-1]
        return last

    async def _is_still_there(self, stream: str, last: Received) -> bool:
        found = await self._api.get(stream, last.seq)
        if found is None:
            return (await self._api.state(stream)).first_seq > last.seq  # aged out: it was there
        return found.payload == last.payload and found.subject == last.subject


class OriginFeeder:
    """Feeds stored messages into a verifier under the name of their origin.

    nats-server tells an origin stream's identity in the last field of ``Nats-Stream-Source``; a stream that was deleted
    and made again has another one, and its account is kept apart (``name@identity``).
    """

    def __init__(self, verifier: LedgerVerifier, stream: str) -> None:
        self._verifier = verifier
        self._stream = stream
        self._identities: dict[str, str] = {}
        self.malformed_count = 0

    def feed(self, message: Received) -> None:
        """One message in stream order; what is malformed is counted and otherwise passed over."""
        try:
            origin, seq, headers = self._origin(message)
            count, is_guest = samples_count(headers, message.payload), WRITER_HEADER in headers
            self._verifier.feed(origin, seq, message.subject, count, message.payload, is_guest=is_guest)
        except DecodeError:
            self.malformed_count += 1

    def _origin(self, message: Received) -> tuple[str, int, dict[str, str]]:
        headers = dict(parse_headers(message.headers).values) if message.headers is not None else {}
        source = headers.get("Nats-Stream-Source")
        if source is None:
            return self._stream, message.seq, headers
        name, seq = parse_stream_source(source)
        fields = source.split(" ")
        identity = fields[5] if len(fields) > 5 else ""
        if self._identities.setdefault(name, identity) != identity:
            name = f"{name}@{identity}"
        return name, seq, headers


def samples_count(headers: dict[str, str], payload: bytes) -> int:
    """Samples in a message: as declared, else the rows of a block, else 1. Raises DecodeError."""
    declared = headers.get("Ms-Count", "")
    if declared.isascii() and declared.isdigit():
        return int(declared)
    return len(decode_block(payload)) if headers.get("Content-Type") == ARROW_TYPE else 1


def accounts_as_dict(accounts: dict[str, OriginAccount]) -> dict[str, dict[str, int | bool]]:
    """As the node's status and ``millstream.node.<name>.ledger`` show it."""
    return {name: {**asdict(account), "is_clean": account.is_clean} for name, account in sorted(accounts.items())}

"""The recount after a hop: what the server writes into the source header is what the verifier reads."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from bus_server import LEDGER, SUBJECT, Server, make_stream

from millstream.bus import GroupCommitPublisher, StreamApi, StreamReader
from millstream.protocols.ledger import LedgerVerifier, parse_stream_source
from millstream.protocols.nats_wire import parse_headers
from millstream.sdk import Message


async def test_a_sourced_stream_is_recounted_by_its_origin(server: Server) -> None:
    async with server.connect() as connection:
        await make_stream(connection)
        body = {"name": "HOP", "sources": [{"name": "E_edge1_I"}], "allow_direct": True}
        await StreamApi(connection).request("STREAM.CREATE.HOP", body)
        async with GroupCommitPublisher(connection, "E_edge1_I", ledger_subject=LEDGER) as publisher:
            for n in range(0, 600, 20):
                await (await publisher.submit([Message(SUBJECT, b"x", samples_count=n + 2)] * 20))
        last = await StreamApi(connection).state("E_edge1_I")
        verifier = LedgerVerifier()
        count = 0
        async with asyncio.timeout(60), aclosing(StreamReader(connection).read("HOP")) as batches:
            async for batch in batches:
                for message in batch:
                    headers = parse_headers(message.headers)
                    assert "Nats-Batch-Id" not in headers.values
                    origin, seq = parse_stream_source(headers.values["Nats-Stream-Source"])
                    samples = int(headers.values.get("Ms-Count", "1"))
                    verifier.feed(origin, seq, message.subject, samples, message.payload)
                count += len(batch)
                if count >= last.messages:
                    break
        account = verifier.accounts["E_edge1_I"]
        assert account.is_clean, account
        assert (account.messages, account.records, account.unrecorded) == (600, last.messages - 600, 0)

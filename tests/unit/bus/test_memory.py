"""The in-memory twin keeps the promises of the ports."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from millstream.bus import MemoryPublisher, MemoryReader, MemoryStream
from millstream.kernel import FencedError, NotFoundError
from millstream.protocols.ledger import LedgerVerifier, decode_record
from millstream.sdk import Control, Message

LEDGER = "uns.v1.acme.site._ledger.edge.integrity"


async def test_what_is_submitted_is_read_in_order_with_its_ledger() -> None:
    stream = MemoryStream("S")
    async with MemoryPublisher(stream, ledger_subject=LEDGER) as publisher:
        for n in range(5):
            future = await publisher.submit([Message("uns.v1.a.b._tag.x", b"%d" % n)] * 2, Control("c", b"%d" % n))
            assert (await future).last_seq == stream.last_seq
        assert await publisher.last_control("c") == b"4"
        assert publisher.stats().messages_stored == 10
    verifier = LedgerVerifier()
    async with aclosing(MemoryReader(stream).read("S", wait_s=0.01)) as batches:
        async for batch in batches:
            if not batch:
                break
            for m in batch:
                if m.subject != "c":
                    verifier.feed("S", m.seq - (m.seq - 1) // 4 - (m.seq % 4 == 0), m.subject, 1, m.payload)
    last = stream.last(LEDGER)
    assert last is not None
    assert decode_record(last.payload).total_messages == 10
    assert verifier.accounts["S"].messages == 10


async def test_a_second_writer_is_fenced() -> None:
    stream = MemoryStream()
    first, second = MemoryPublisher(stream, ledger_subject=LEDGER), MemoryPublisher(stream, ledger_subject=LEDGER)
    await (await first.submit([Message("a", b"1")]))
    with pytest.raises(FencedError):
        await (await second.submit([Message("a", b"2")]))


async def test_an_unknown_stream_is_not_found() -> None:
    async with aclosing(MemoryReader(MemoryStream()).read("other")) as batches:
        with pytest.raises(NotFoundError):
            await anext(batches)

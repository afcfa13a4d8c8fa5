"""What is remembered of committed batches."""

from __future__ import annotations

from millstream.bus._fast_batch import RECENT_BYTES_MAX, RECENT_S, FastBatch, Recent, Seal
from millstream.protocols.ledger import LedgerRecord
from millstream.sdk import Control, Message


def batch(base_seq: int, count: int, record: bytes = b"", size: int = 0) -> FastBatch:
    made = FastBatch("id", "reply.", base_seq, 0.0)
    made.items = [Message("a", b"%d" % (base_seq + n)) for n in range(1, count + 1)]
    made.bytes = size
    if record:
        made.seal = Seal("ledger", record, LedgerRecord(1, count, count, count, count, 1))
    return made


def test_what_stood_behind_a_sequence_comes_back_in_order_with_its_records() -> None:
    recent = Recent()
    recent.add(batch(10, 3, b"r1"), 0.0)  # 11 12 13, record 14
    recent.add(batch(14, 2), 0.1)  # 15 16
    assert recent.behind(12) == [
        Message("a", b"13"), Control("ledger", b"r1"), Message("a", b"15"), Message("a", b"16"),
    ]  # fmt: skip
    assert recent.behind(15) == [Message("a", b"16")]
    assert recent.behind(16) == []
    assert recent.behind(9) is None


def test_only_a_bounded_past_is_remembered_but_always_the_newest() -> None:
    recent = Recent()
    recent.add(batch(0, 1), 0.0)
    recent.add(batch(1, 1), RECENT_S + 1)
    assert recent.behind(0) is None
    recent.add(batch(2, 1, size=RECENT_BYTES_MAX), RECENT_S + 1)
    recent.add(batch(3, 1, size=RECENT_BYTES_MAX), RECENT_S + 1)
    assert recent.behind(2) is None
    assert recent.behind(3) == [Message("a", b"4")]
    recent.clear()
    assert recent.behind(3) is None

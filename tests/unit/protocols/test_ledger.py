"""The recount finds each dropped, repeated and reordered message, and never cries wolf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.protocols.ledger import (
    LedgerRecord,
    LedgerVerifier,
    OriginAccount,
    decode_record,
    encode_record,
    is_ledger_subject,
    is_record_subject,
    parse_stream_source,
)

RECORD = "uns.v1.acme.site._ledger.edge.integrity"
POSITION = RECORD + ".opc"
Entry = tuple[int, str, int, bytes]


def stream_of(batches: list[list[int]], with_position: bool = False) -> list[Entry]:
    """Sequence, subject, samples, payload of a clean stream: each inner list is a batch of messages' sample counts."""
    entries: list[Entry] = []
    total_messages = total_samples = 0
    for number, batch in enumerate(batches, 1):
        for samples in batch:
            entries.append((len(entries) + 1, "uns.v1.acme.site._tag.t", samples, b"x"))
        if with_position:
            entries.append((len(entries) + 1, POSITION, 0, b"{}"))
        total_messages += len(batch)
        total_samples += sum(batch)
        record = LedgerRecord(number, len(batch), sum(batch), total_messages, total_samples, number)
        entries.append((len(entries) + 1, RECORD, 0, encode_record(record)))
    return entries


def recount(entries: list[Entry]) -> OriginAccount:
    """The account of one origin."""
    verifier = LedgerVerifier()
    for seq, subject, samples, payload in entries:
        verifier.feed("E_edge_I", seq, subject, samples, payload)
    return verifier.accounts["E_edge_I"]


batches_of = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=5), min_size=2, max_size=8)


@given(batches_of, st.booleans())
def test_a_clean_stream_is_never_flagged(batches: list[list[int]], with_position: bool) -> None:
    account = recount(stream_of(batches, with_position))
    assert account.is_clean
    assert account.unrecorded == 0
    assert account.messages == sum(map(len, batches))
    assert account.samples == sum(map(sum, batches))


@given(batches_of, st.integers(0, 10_000))
def test_a_clean_stream_read_from_its_middle_is_not_flagged(batches: list[list[int]], start: int) -> None:
    entries = stream_of(batches)
    assert recount(entries[start % len(entries) :]).is_clean


@given(batches_of, st.data())
def test_each_dropped_message_is_a_gap(batches: list[list[int]], data: st.DataObject) -> None:
    entries = stream_of(batches)
    dropped = data.draw(st.sets(st.integers(1, len(entries) - 2), min_size=1, max_size=len(entries) - 2))
    account = recount([e for i, e in enumerate(entries) if i not in dropped])
    assert account.gaps == len(dropped)
    assert account.repeats == account.out_of_order == account.surplus == 0
    lost = sum(e[2] for i, e in enumerate(entries) if i in dropped)
    assert account.samples_missing == lost


def test_the_newest_gaps_are_told_by_their_sequences_until_they_are_filled() -> None:
    verifier = LedgerVerifier()
    for seq in (1, 4, 5, 9, 20):
        verifier.feed("E", seq, "uns.v1.acme.site._tag.x", 1, b"")
    assert verifier.missing("E", 10) == [(2, 3), (6, 8), (10, 19)]
    assert verifier.missing("E", 2) == [(6, 8), (10, 19)]
    verifier.feed("E", 7, "uns.v1.acme.site._tag.x", 1, b"")
    assert verifier.missing("E", 10) == [(2, 3), (6, 6), (8, 8), (10, 19)]
    assert verifier.missing("nobody", 10) == []


@given(batches_of, st.data())
def test_each_repeated_message_is_a_repeat(batches: list[list[int]], data: st.DataObject) -> None:
    entries = stream_of(batches)
    again = data.draw(st.lists(st.integers(0, len(entries) - 1), min_size=1, max_size=5))
    account = recount(entries + [entries[i] for i in again])
    assert (account.repeats, account.gaps, account.out_of_order, account.surplus) == (len(again), 0, 0, 0)


@given(batches_of, st.data())
def test_each_late_message_is_out_of_order_and_nothing_else(batches: list[list[int]], data: st.DataObject) -> None:
    entries = stream_of(batches)
    index = data.draw(st.integers(1, len(entries) - 2))
    to = data.draw(st.integers(index + 1, len(entries) - 1))
    moved = entries[:index] + entries[index + 1 : to + 1] + [entries[index]] + entries[to + 1 :]
    account = recount(moved)
    assert (account.out_of_order, account.gaps, account.repeats, account.surplus) == (1, 0, 0, 0)
    assert account.samples_missing == account.samples_surplus == 0


@given(batches_of, st.data())
def test_a_message_that_the_publisher_lost_or_doubled_shows_although_sequences_are_whole(
    batches: list[list[int]], data: st.DataObject
) -> None:
    entries = stream_of(batches)
    index = data.draw(st.sampled_from([i for i, e in enumerate(entries) if e[1] != RECORD]))
    without = [(n, *e[1:]) for n, e in enumerate(entries[:index] + entries[index + 1 :], 1)]
    assert (recount(without).gaps, recount(without).samples_missing) == (1, entries[index][2])
    doubled = [(n, *e[1:]) for n, e in enumerate([*entries[:index], entries[index], *entries[index:]], 1)]
    assert (recount(doubled).surplus, recount(doubled).samples_surplus) == (1, entries[index][2])


def test_a_batch_stored_twice_is_repeats() -> None:
    first = stream_of([[1, 2], [3]])
    again = [(len(first) + n, *e[1:]) for n, e in enumerate(first[-2:], 1)]
    assert recount(first + again).repeats == 1


def test_the_open_tail_is_unrecorded() -> None:
    entries = stream_of([[1, 2], [3, 4, 5]])
    assert recount(entries[:-1]).unrecorded == 3


def test_record_and_position_subjects_are_told_apart() -> None:
    assert is_record_subject(RECORD)
    assert not is_record_subject(POSITION)
    assert is_ledger_subject(POSITION)
    assert not is_ledger_subject("uns.v1.acme.site._tag.x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("E_plant7_I 42 > > uns.v1.a", ("E_plant7_I", 42)),
        ("E_plant7_I:oqJ8kCBG 7 uns.v1.> >", ("E_plant7_I", 7)),
        ("$JS.ACK.RAW.cons.1.99.3.1700000000.0", ("RAW", 99)),
    ],
)
def test_the_source_header_gives_stream_and_sequence(value: str, expected: tuple[str, int]) -> None:
    assert parse_stream_source(value) == expected


@pytest.mark.parametrize("value", ["", "x", "x y", "$JS.ACK.a"])
def test_a_malformed_source_header_is_a_decode_error(value: str) -> None:
    with pytest.raises(DecodeError):
        parse_stream_source(value)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"batch":1}',
        b'{"batch":1,"messages":5,"samples":5,"total_messages":1,"total_samples":5,"time_ns":0}',
        b"\xff",
    ],
)
def test_a_malformed_record_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_record(payload)


def test_a_guest_is_counted_by_itself_and_does_not_soil_the_account() -> None:
    verifier = LedgerVerifier()
    entries = stream_of([[1, 1], [1]])
    verifier.feed("E", 1, *entries[0][1:])
    verifier.feed("E", 2, "uns.v1.acme.site._tag.note", 1, b"{}", is_guest=True)
    for seq, subject, samples, payload in entries[1:]:
        verifier.feed("E", seq + 1, subject, samples, payload)
    account = verifier.accounts["E"]
    assert account.is_clean
    assert (account.messages, account.guests) == (4, 1)


def test_a_stranger_without_the_header_is_a_surplus() -> None:
    verifier = LedgerVerifier()
    verifier.feed("E", 1, "uns.v1.acme.site._tag.note", 1, b"{}")
    for seq, subject, samples, payload in stream_of([[1]]):
        verifier.feed("E", seq + 1, subject, samples, payload)
    assert verifier.accounts["E"].surplus == 1


def two_publishers(*, claims: bool) -> list[Entry]:
    """The first tears three messages, the second stores a batch, then the first counts its three, or does not."""
    other = RECORD + "2"
    entries: list[Entry] = [(1, "uns.v1.a.b._tag.t", 1, b"x")]
    entries.append((2, RECORD, 0, encode_record(LedgerRecord(1, 1, 1, 1, 1, 1))))
    entries += [(seq, "uns.v1.a.b._tag.t", 1, b"x") for seq in (3, 4, 5)]
    entries.append((6, "uns.v1.a.b._tag.u", 1, b"x"))
    entries.append((7, other, 0, encode_record(LedgerRecord(1, 1, 1, 1, 1, 2))))
    entries.append((8, "uns.v1.a.b._tag.t", 1, b"x"))
    total = 5 if claims else 2
    entries.append((9, RECORD, 0, encode_record(LedgerRecord(2, total - 1, total - 1, total, total, 3))))
    return entries


def test_what_a_power_loss_tore_is_counted_by_its_own_publisher_though_another_came_between() -> None:
    account = recount(two_publishers(claims=True))
    assert account.is_clean
    assert account.unrecorded == 0


def test_what_no_publisher_counts_is_a_surplus_once_all_have_passed_it_by() -> None:
    account = recount(two_publishers(claims=False))
    assert (account.surplus, account.samples_surplus, account.gaps) == (3, 3, 0)

"""The ledger: what a publisher says it stored, and the recount that proves or refutes it.

Every publisher writes, after each group of messages, a record with the counts of the group and cumulative totals.
Whoever reads the stream, at the edge or after any number of hops, recounts: origin sequences must be complete, in order
and without repeats, and between two records of one publisher exactly as many messages and samples must stand as the
totals grew by.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from millstream.kernel import DecodeError
from millstream.model import AssetPath
from millstream.protocols.uns_subject import UnsAddress, encode_subject

CONTRACT = "_ledger"
MISSING_RANGES_MAX = 10_000  # of one origin; beyond it the oldest holes stay counted but can no longer be filled


class LedgerRecord(msgspec.Struct, frozen=True, gc=False):
    """One record. `messages` and `samples` count this batch (records excluded), the totals everything since the stream
    began, over restarts; `batch` counts from 1; `time_ns` is UTC."""

    batch: int
    messages: int
    samples: int
    total_messages: int
    total_samples: int
    time_ns: int


WRITER_HEADER = "Ms-Writer"
"""Names a writer that keeps no record, so that its messages are told apart from a publisher's surplus."""

_decoder = msgspec.json.Decoder(LedgerRecord)
_encoder = msgspec.json.Encoder()


def encode_record(record: LedgerRecord) -> bytes:
    """The record as JSON."""
    return _encoder.encode(record)


def decode_record(payload: bytes) -> LedgerRecord:
    """One record. Raises DecodeError."""
    try:
        record = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"not a ledger record: {error}", got=repr(payload[:80]), code="MS-0304") from error
    if min(record.batch, record.messages, record.samples) < 0 or record.total_messages < record.messages:
        raise DecodeError("ledger record contradicts itself", got=repr(payload[:120]), code="MS-0304")
    return record


def record_subject(asset: AssetPath, node: str, publisher: str) -> str:
    """The subject of a publisher's record."""
    return encode_subject(UnsAddress(asset, CONTRACT, (node, publisher)))


def position_subject(asset: AssetPath, node: str, publisher: str, connector: str) -> str:
    """The subject of the control record that holds a rewindable connector's position."""
    return encode_subject(UnsAddress(asset, CONTRACT, (node, publisher, connector)))


def is_ledger_subject(subject: str) -> bool:
    """True for records and positions, which count as no message."""
    return "._ledger." in subject


def is_record_subject(subject: str) -> bool:
    """True for a publisher's record (two names after the contract), false for a position."""
    at = subject.find("._ledger.")
    return at >= 0 and subject.count(".", at + 9) == 1


def parse_stream_source(value: str) -> tuple[str, int]:
    """Stream and sequence at the origin, from a ``Nats-Stream-Source`` header.

    nats-server writes ``<stream>[:<hash of the external API>] <seq> <filters> <transforms> [<subject> [<identity>]]``,
    and before 2.10 the reply subject ``$JS.ACK.<stream>.<consumer>.<delivered>.<seq>...``. Raises DecodeError.
    """
    parts = value.split()
    if len(parts) >= 2 and parts[1].isascii() and parts[1].isdigit():
        return parts[0].partition(":")[0], int(parts[1])
    tokens = value.split(".")
    if len(tokens) == 9 and tokens[0] == "$JS" and tokens[5].isdigit():
        return tokens[2], int(tokens[5])
    raise DecodeError(
        "not a Nats-Stream-Source header", expected="<stream> <seq> ...", got=repr(value[:120]), code="MS-0304"
    )


@dataclass(slots=True)
class OriginAccount:
    """The recount of one origin stream.

    `gaps` messages are missing (by sequence or by a record's totals), `repeats` came more than once, `out_of_order`
    came late, `surplus` stood before a record that does not count them, `unrecorded` follow the newest record,
    `guests` were stored by writers that keep no record and say so: a person, the SDK, a replayed dead letter.
    """

    messages: int = 0
    samples: int = 0
    records: int = 0
    gaps: int = 0
    repeats: int = 0
    out_of_order: int = 0
    surplus: int = 0
    samples_missing: int = 0
    samples_surplus: int = 0
    unrecorded: int = 0
    guests: int = 0
    first_seq: int = 0
    last_seq: int = 0

    @property
    def is_clean(self) -> bool:
        """Nothing missing, repeated, reordered or unaccounted; an open tail (`unrecorded`) is clean."""
        return not any(
            (self.gaps, self.repeats, self.out_of_order, self.surplus, self.samples_missing, self.samples_surplus)
        )


@dataclass(slots=True)
class _Origin:
    account: OriginAccount = field(default_factory=OriginAccount)
    missing: list[tuple[int, int]] = field(default_factory=list)  # closed ranges of sequences not seen yet, ascending
    totals: dict[str, LedgerRecord] = field(default_factory=dict)
    record_seq: int = 0  # of the newest record
    window_messages: int = 0
    window_samples: int = 0
    window_missing: int = 0
    passed: list[str] = field(default_factory=list)  # records that did not count what stands in the window

    def is_open_to_others(self, subject: str) -> bool:
        """What the record of `subject` does not count may be another publisher's, the front of a commit that a power
        loss tore, until each publisher of the stream has passed it by."""
        if subject not in self.passed:
            self.passed.append(subject)
        return len(self.passed) < len(self.totals)


class LedgerVerifier:
    """Recounts any number of origins. Feed every message in the order of its arrival; cost is O(1) a message."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin] = {}

    @property
    def accounts(self) -> dict[str, OriginAccount]:
        """The account of each origin seen."""
        return {name: origin.account for name, origin in self._origins.items()}

    def missing(self, origin: str, count: int) -> list[tuple[int, int]]:
        """The newest `count` gaps of one origin, each by its first and last sequence, ascending."""
        return self._origins[origin].missing[-count:] if origin in self._origins else []

    def dump(self, origin: str) -> bytes:
        """The whole state of one origin, to be kept with what was made of its messages; `load` takes it back."""
        return _encoder.encode(self._origins[origin])

    def load(self, origin: str, state: bytes) -> None:
        """Go on where `dump` was. Raises DecodeError."""
        try:
            self._origins[origin] = msgspec.json.decode(state, type=_Origin)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DecodeError(f"not a ledger state: {error}", where=origin, code="MS-0304") from error

    def forget(self, origin: str) -> None:
        """The origin begins anew: its stream was made again under the same name."""
        self._origins.pop(origin, None)

    def feed(
        self, origin: str, origin_seq: int, subject: str, samples_count: int, payload: bytes, *, is_guest: bool = False
    ) -> bool:
        """One message; False when it is a repeat. `payload` is looked at only for records. `is_guest`: its writer says
        (header Ms-Writer) that it keeps no record. Raises DecodeError for a malformed record (which is then counted as
        no record: the next one covers its messages)."""
        state = self._origins.get(origin)
        if state is None:
            state = self._origins[origin] = _Origin()
            state.account.first_seq = origin_seq
            state.account.last_seq = origin_seq - 1
        account = state.account
        is_late = False
        if origin_seq == account.last_seq + 1:
            account.last_seq = origin_seq
        elif origin_seq > account.last_seq:
            self._open_gap(state, origin_seq)
        elif _fill(state.missing, origin_seq):
            account.gaps -= 1
            account.out_of_order += 1
            is_late = True
        else:
            account.repeats += 1
            return False
        if is_ledger_subject(subject):
            if is_record_subject(subject):
                account.records += 1
                if not is_late:  # a late record is covered by the next one's totals
                    self._check(state, origin_seq, subject, decode_record(payload))
            return True
        account.messages += 1
        account.samples += samples_count
        if is_guest:
            account.guests += 1
        elif origin_seq > state.record_seq:
            state.window_messages += 1
            state.window_samples += samples_count
            account.unrecorded = state.window_messages
            if is_late:
                state.window_missing -= 1
        else:  # its window is closed, and this message was written off there
            account.samples_missing -= samples_count
        return True

    def feed_run(self, origin: str, first_seq: int, count: int) -> bool:
        """`count` one-sample messages of known tags, neither records nor guests, whose sequences follow each other from
        `first_seq` on. False when they do not follow what was fed before: then nothing is taken, and `feed` is to say
        what each of them is."""
        state = self._origins.get(origin)
        if state is None or state.account.last_seq + 1 != first_seq:
            return False
        account = state.account
        account.last_seq += count
        account.messages += count
        account.samples += count
        state.window_messages += count
        state.window_samples += count
        account.unrecorded = state.window_messages
        return True

    @staticmethod
    def _open_gap(state: _Origin, origin_seq: int) -> None:
        account = state.account
        first = account.last_seq + 1
        account.gaps += origin_seq - first
        state.window_missing += origin_seq - first
        state.missing.append((first, origin_seq - 1))
        if len(state.missing) > MISSING_RANGES_MAX:
            del state.missing[0]
        account.last_seq = origin_seq

    @staticmethod
    def _check(state: _Origin, origin_seq: int, subject: str, record: LedgerRecord) -> None:
        account = state.account
        before = state.totals.get(subject)
        state.totals[subject] = record
        state.record_seq = origin_seq
        rest_messages = rest_samples = 0
        if before is not None or account.first_seq == 1:
            base_messages = before.total_messages if before is not None else 0
            base_samples = before.total_samples if before is not None else 0
            messages_short = record.total_messages - base_messages - state.window_messages
            samples_short = record.total_samples - base_samples - state.window_samples
            if messages_short > 0:  # what the sequence already shows as missing is not counted twice
                account.gaps += max(0, messages_short - state.window_missing)
            elif messages_short < 0 and before is not None and record.batch <= before.batch:
                account.repeats -= messages_short
            elif messages_short < 0 and state.is_open_to_others(subject):
                rest_messages, rest_samples = -messages_short, max(0, -samples_short)
            else:
                account.surplus -= messages_short
            account.samples_missing += max(0, samples_short)
            account.samples_surplus += max(0, -samples_short - rest_samples)
        if not rest_messages:
            state.passed.clear()
        state.window_messages, state.window_samples, state.window_missing = rest_messages, rest_samples, 0
        account.unrecorded = rest_messages


def _fill(missing: list[tuple[int, int]], seq: int) -> bool:
    """Take `seq` out of the missing ranges; False when it is in none."""
    for index in range(len(missing) - 1, -1, -1):
        first, last = missing[index]
        if first <= seq <= last:
            missing[index : index + 1] = [r for r in ((first, seq - 1), (seq + 1, last)) if r[0] <= r[1]]
            return True
        if last < seq:
            return False
    return False

"""What goes into quarantine: inputs that a flow could not take, and outputs that break a contract. Pure.

A letter has an id, so that one that was stored before a crash is known again when its unit is made once more. An output
whose letter is there stays in quarantine, also when the contracts have changed meanwhile: it is never in both places.
"""

from __future__ import annotations

import hashlib
import traceback
import zlib
from collections.abc import Mapping

import msgspec

from millstream.flow._codec import INPUT_HEADER, encode_fact
from millstream.flow._model import Emit, EmitEvent, Refuse
from millstream.flow._ports import Rejected
from millstream.flow._sources import StepFailedError
from millstream.kernel import PlantError
from millstream.model import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH
from millstream.protocols.contract import ContractBook, Violation
from millstream.protocols.nats_wire import VERSION_LINE, encode_header_lines
from millstream.sdk import Message, Received


class OutputGuard:
    """Checks what a step says against the contracts. `kept` are letters that stand already, of a unit that was cut
    off: id -> contract."""

    def __init__(self, mark: str) -> None:
        self.book = ContractBook()
        self.kept: Mapping[str, str] = {}
        self.newest = ""
        self._mark = mark

    @property
    def is_on(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.book) or bool(self.kept)

    def find(self, effect: Emit | EmitEvent, subject: str, origin: str) -> Violation | None:
        """The first thing wrong with an output; a null and a bad quality promise nothing."""
        label = self.kept.get(self._id(origin))
        if label is not None:
            return Violation(label, "put into quarantine before a crash")
        check = self.book.check_of(subject)
        if check is None:
            return None
        if isinstance(effect, EmitEvent):
            return check.find_event(effect.type, effect.data)
        if effect.value is None or effect.quality.is_bad:
            return None
        return check.find(effect.value, effect.unit)

    def first_tick(self) -> str | None:
        """The tick that a unit was cut off in, by its letters: it has to be done again at the same moment."""
        begin = f"{self._mark}/tick:"
        ticks = [letter.removeprefix(begin).partition(":")[0] for letter in self.kept if letter.startswith(begin)]
        return f"tick:{min(map(int, ticks))}" if ticks else None

    def letter(self, message: Message, origin: str, violation: Violation, arrival_ns: int) -> Rejected:
        """The output as it would have been stored."""
        self.newest = violation.contract or self.newest
        place, _, index = origin.rpartition(":")
        stream, _, seq = place.rpartition(":")
        headers = [(name, value) for name, value in message.headers if name != INPUT_HEADER]
        if message.content_type is not None:
            headers.append(("Content-Type", message.content_type))
        block = VERSION_LINE + b"\r\n" + encode_header_lines(headers) + b"\r\n"
        received = Received(message.subject, message.payload, block, int(seq), arrival_ns)
        return Rejected(
            stream, received, int(index), "MS-0330", str(violation), "", self._id(origin), self._mark,
            violation.contract,
        )  # fmt: skip

    def _id(self, origin: str) -> str:
        return f"{self._mark}/{origin}"


def stand_in(sample: Emit, violation: Violation) -> Emit:
    """What is stored in the place of a sample that breaks a contract: nobody takes the last good one for the newest."""
    quality = BAD_TYPE_MISMATCH if violation.is_type else BAD_OUT_OF_RANGE
    return msgspec.structs.replace(sample, value=None, quality=quality)


def rejected_input(mark: str, stream: str, received: Received, index: int, error: PlantError) -> Rejected:
    """An input, or a timer, whose step failed. `mark` is flow/version/partition."""
    cause = error.__cause__
    detail = "".join(traceback.format_exception(cause)) if cause is not None else ""
    letter = input_id(mark, stream, received, index)
    return Rejected(stream, received, index, error.code, error.what, detail, letter, mark)


def refused_input(mark: str, where: str, refuse: Refuse, place: tuple[str, int], arrival_ns: int) -> Rejected:
    """What a step puts into quarantine by itself; the input may have come with an earlier message than the one of
    `place`. Raises StepFailedError."""
    event, reason = refuse.event, refuse.reason
    try:
        subject, payload = encode_fact(event, arrival_ns)
    except PlantError as error:
        raise StepFailedError("step refuses what is no input", where=where, got=repr(event)[:80]) from error
    stream, seq = place
    received = Received(subject, payload, None, seq, arrival_ns)
    index = mark_of(event.source, event.kind, event.time_ns)
    if isinstance(reason, str):
        code, what, detail = "MS-0702", reason, ""
    else:
        code = "MS-0703" if isinstance(reason, TimeoutError) else "MS-0702"
        what = f"step raised {type(reason).__name__}: {reason}"
        detail = "".join(traceback.format_exception(reason))
    return Rejected(stream, received, index, code, what, detail, input_id(mark, stream, received, index), mark)


def input_id(mark: str, stream: str, received: Received, index: int) -> str:
    """The same whenever the same input is refused again. A timer has no payload; its subject tells which one it is."""
    place = f"{mark}/{stream}:{received.seq}:{index}"
    if received.payload:
        return f"{place}:"
    return f"{place}:{hashlib.blake2b(received.subject.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def mark_of(*parts: object) -> int:
    """In the place of a sample's number, for what is no sample of its message: the same whenever it is done again."""
    return 1 << 32 | zlib.crc32("/".join(map(str, parts)).encode("utf-8", "surrogatepass"))

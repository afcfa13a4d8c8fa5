"""Which box of a cluster does the node's work: one record in the cluster's own bucket, taken and renewed by
compare-and-set.

The holder renews the record; another member takes it once it has stood unchanged for long enough by that member's own
clock. No clock is compared with another's. A holder stops `HOLD_S` after the last renewal that it asked for, which is
before anybody else may begin; one that was frozen meanwhile finds out at its next renewal. What it still does in
between does no harm, because all that it writes is fenced or compared in the streams themselves.

A holder also answers on a subject of its own. When the servers say that nobody listens there any more its process has
ended, or a cut parts it from the majority, without which it cannot write anything: then it is not waited for so long.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from millstream.bus._jetstream import Refused, StreamApi, decode_answer
from millstream.bus._streams import StreamConfig, ensure_stream
from millstream.bus._transport import NobodyAnswers, Transport
from millstream.kernel import Clock, DecodeError, FencedError, NotFoundError, PlantError, Unreachable
from millstream.protocols.nats_wire import WireMessage

CLUSTER_BUCKET, CLUSTER_PREFIX = "KV_cluster", "$KV.cluster."
STREAM_BYTES_MAX = 16 << 20
BEAT_S = 1.0
HOLD_S = 8.0  # a little less than nine seconds, the longest that a new leader of the bucket's stream is waited for
TAKE_S = 10.0
TAKE_GONE_S = 3.0  # some missed renewals, when the holder's process is not there either
REQUEST_S = 2.0
NO_PEERS = 10005  # "no suitable peers for placement"


class LeaseRecord(msgspec.Struct, frozen=True):
    """Who holds it. `term` grows with each holder; `nonce` tells one process from another of the same member."""

    member: str
    nonce: str
    term: int
    is_released: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The record as it stands in the stream, and since when (monotonic) this member has seen it so."""

    record: LeaseRecord
    seq: int
    since_ns: int


def is_free(seen: Held | None, now_ns: int, *, is_gone: bool = False) -> bool:
    """Whether a member that has `seen` this may take it; `is_gone`: nobody listens where its holder would."""
    if seen is None or seen.record.is_released:
        return True
    return now_ns - seen.since_ns >= (TAKE_GONE_S if is_gone else TAKE_S) * 1e9


def is_late(seen: Held | None, now_ns: int) -> bool:
    """Whether it is time to ask if the holder is there at all."""
    return seen is not None and now_ns - seen.since_ns >= TAKE_GONE_S * 1e9


def look(seen: Held | None, found: tuple[LeaseRecord, int] | None, now_ns: int) -> Held | None:
    """What is seen now: a record that has changed counts from now on."""
    if found is None:
        return None
    record, seq = found
    return seen if seen is not None and seen.seq == seq else Held(record, seq, now_ns)


class LostLeaseError(PlantError):
    """Another member does the work, or may by now."""

    default_code = "MS-2601"


class Lease:
    """One member's view of one lease. `wait`, then `keep` while working, then `release`."""

    def __init__(
        self, connection: Transport, name: str, member: str, clock: Clock, on_log: Callable[[str], object] | None = None
    ) -> None:  # fmt: skip
        """`on_log` hears once why a cluster cannot begin at its first start."""
        self._connection = connection
        self._api = StreamApi(connection)
        self._subject = CLUSTER_PREFIX + name
        self._member = member
        self._nonce = secrets.token_hex(8)
        self._clock = clock
        self._seen: Held | None = None
        self._seq = 0
        self._until_ns = 0
        self.term = 0
        self.trouble: str | None = None
        self._on_log = on_log

    @property
    def holder(self) -> str | None:
        """Who does the work, as of the last look; None when nobody does."""
        seen = self._seen
        return None if seen is None or seen.record.is_released else seen.record.member

    @property
    def is_held(self) -> bool:
        """Whether this member has it now."""
        return self._clock.monotonic_ns() < self._until_ns

    async def wait(self) -> None:
        """Return once this member has it. Raises nothing for a server that does not answer: it is asked again."""
        while True:
            try:
                is_taken = await self._try()
                self.trouble = None
                if is_taken:
                    return
            except NotFoundError:
                await self._make()
            except PlantError as error:  # no majority, or servers that do not know each other yet
                self.trouble = str(error)
                self._seen = None  # nobody could have renewed it either: it counts anew
            await self._clock.sleep(BEAT_S)

    async def keep(self) -> None:
        """Renew for ever. Raises LostLeaseError when it is gone, or could not be renewed in time."""
        sid = self._connection.subscribe(_door(self._nonce), self._answer)
        try:
            await self._renew()
        finally:
            self._connection.unsubscribe(sid)

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(BEAT_S)
            try:
                async with asyncio.timeout(max(0.0, (self._until_ns - self._clock.monotonic_ns()) / 1e9)):
                    await self._put(LeaseRecord(self._member, self._nonce, self.term))
            except FencedError as error:
                await self._settle(error)
            except (PlantError, TimeoutError):  # the bucket has no leader just now
                if not self.is_held:
                    raise LostLeaseError("the lease could not be renewed in time", where=self._member) from None

    async def release(self) -> None:
        """Let another member begin at once; whatever hinders that only costs time."""
        if self._until_ns:
            try:
                await self._put(LeaseRecord(self._member, self._nonce, self.term, is_released=True))
            except PlantError:
                return
            finally:
                self._until_ns = 0

    async def _make(self) -> None:
        """The bucket; servers that have just met may not be able to yet. Two of three choose a leader, but a stream is
        made on three."""
        try:
            await ensure_stream(self._api, lease_stream())
        except PlantError as error:
            self.trouble = str(error)
            if isinstance(error, Refused) and error.err_code == NO_PEERS:
                self.trouble = str(_not_met(error))
                on_log, self._on_log = self._on_log, None
                if on_log is not None:
                    on_log(self.trouble)

    async def _try(self) -> bool:
        found = await self._find()
        now_ns = self._clock.monotonic_ns()
        self._seen = look(self._seen, found, now_ns)
        is_own = found is not None and found[0].nonce == self._nonce  # taken, and the answer was lost
        is_gone = is_late(self._seen, now_ns) and await self._is_gone()
        if not is_own and not is_free(self._seen, now_ns, is_gone=is_gone):
            return False
        self._seq = self._seen.seq if self._seen is not None else 0
        self.term = (self._seen.record.term if self._seen is not None else 0) + 1
        try:
            await self._put(LeaseRecord(self._member, self._nonce, self.term))
        except FencedError:
            return False  # another was faster, or our own answer was lost: the next look tells
        return True

    async def _is_gone(self) -> bool:
        assert self._seen is not None
        try:
            await self._connection.request(_door(self._seen.record.nonce), timeout_s=REQUEST_S)
        except NobodyAnswers:
            return True
        except Unreachable:
            return False
        return False

    def _answer(self, messages: list[WireMessage]) -> None:
        for message in messages:
            if message[2]:
                with contextlib.suppress(Unreachable):
                    self._connection.publish(bytes(message[2]).decode("ascii"), b"")

    async def _settle(self, error: FencedError) -> None:
        """Another number stands there: another member's, or our own, whose answer was lost."""
        try:
            found = await self._find()
        except PlantError:
            return  # not to be asked just now; the next renewal tells
        if found is None or (found[0].nonce, found[0].term) != (self._nonce, self.term):
            self._until_ns = 0
            raise LostLeaseError(
                "another member has taken over", where=self._member, got=found[0].member if found else "nobody"
            ) from error
        self._seq = found[1]

    async def _find(self) -> tuple[LeaseRecord, int] | None:
        try:
            async with asyncio.timeout(REQUEST_S):
                found = await self._api.last(CLUSTER_BUCKET, self._subject)
        except TimeoutError as error:
            raise Unreachable("no answer in time", where=self._subject, expected=f"{REQUEST_S:g}s") from error
        if found is None:
            return None
        try:
            return msgspec.json.decode(found.payload, type=LeaseRecord), found.seq
        except msgspec.DecodeError as error:
            raise DecodeError("not a lease", where=self._subject, got=str(error)) from error

    async def _put(self, record: LeaseRecord) -> None:
        asked_ns = self._clock.monotonic_ns()
        lines = f"Nats-Expected-Last-Subject-Sequence: {self._seq}\r\n".encode()
        answer = await self._connection.request(
            self._subject, msgspec.json.encode(record), header_lines=lines, timeout_s=REQUEST_S
        )
        self._seq = int(decode_answer(answer[4], where=self._subject)["seq"])
        self._seen = Held(record, self._seq, asked_ns)
        self._until_ns = asked_ns + int(HOLD_S * 1e9)


def _not_met(error: PlantError) -> PlantError:
    return PlantError(
        "the members have not all met yet", where=CLUSTER_BUCKET, got=error.got, code="MS-2602",
        expected="at the first start as many that see each other as keep each stream (three)",
        next_step="start the others, and let each reach the addresses under 'cluster.members'",
    )  # fmt: skip


def _door(nonce: str) -> str:
    return f"millstream.lease.{nonce}"


def lease_stream() -> StreamConfig:
    """The bucket of the cluster itself. No direct get: a replica that lags behind must not answer."""
    return {
        "name": CLUSTER_BUCKET, "subjects": [CLUSTER_PREFIX + ">"], "storage": "file", "retention": "limits",
        "discard": "old", "max_msgs_per_subject": 1, "max_bytes": STREAM_BYTES_MAX, "allow_direct": False,
        "num_replicas": 1,
    }  # fmt: skip

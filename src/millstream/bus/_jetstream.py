"""What publishers and readers ask JetStream's API, over a RawConnection: requests, last record by subject, stream
state.

Errors are translated here and nowhere else (ADR-7 err_code on the left).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from millstream.bus._patience import patiently
from millstream.bus._transport import Transport
from millstream.kernel import FencedError, NotFoundError, PlantError, ProtocolViolation, StoreFullError, Unreachable
from millstream.protocols.nats_wire import WireMessage, parse_headers, subject_matches
from millstream.sdk import Received

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})  # the second of a cluster, while another write is under way
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
BATCH_INCOMPLETE = 10176
BATCH_UNKNOWN = 10208
_FULL = frozenset({10077, 10047, 10023, 10122, 10123})  # bytes, memory/storage resources, insufficient, messages
_NO_MESSAGE = 10037
_NOT_FOUND = frozenset({10059, 10014, _NO_MESSAGE})  # stream, consumer, message
_BUSY = frozenset({10008, 10074, 10118, 10210, 10211, 10076})  # unavailable, temporarily, too many open batches


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds; `bytes_max` is its bound, not positive when it has none, `subjects` what it listens on,
    `first_time_ns` (UTC) when its oldest message was stored, 0 while there is none."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    bytes_max: int = -1
    subjects: tuple[str, ...] = ()
    first_time_ns: int = 0

    def takes(self, subject: str) -> bool:
        """Whether the stream listens on `subject`."""
        return any(subject_matches(subject, pattern) for pattern in self.subjects)


class StreamApi:
    """JetStream's API for one domain.

    With `patience_s` a request that JetStream cannot answer yet (no link, nobody serves it, not ready) is asked again
    for so long; then it raises Unreachable (MS-0608). For whatever is asked while a node starts.

    Single messages are read by direct get; where streams have replicas, from the one that leads: any replica may answer
    a direct get, and one that lags behind would give a position that was left long ago.
    """

    def __init__(self, connection: Transport, domain: str | None = None, *, patience_s: float = 0.0) -> None:
        self.connection = connection
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"
        self._patience_s = patience_s
        self.replicas = connection.replicas if domain is None else 1
        self._is_leader_asked = self.replicas > 1

    async def request(self, subject: str, body: object | None = None, *, timeout_s: float = 5.0) -> dict[str, Any]:
        """One API request. Raises the PlantError that fits the answer, Unreachable when there is none."""
        payload = b"" if body is None else msgspec.json.encode(body)

        async def ask() -> dict[str, Any]:
            message = await self.connection.request(f"{self.prefix}.{subject}", payload, timeout_s=timeout_s)
            return decode_answer(message[4], where=subject)

        return await patiently(ask, patience_s=self._patience_s, where=subject)

    async def state(self, stream: str) -> StreamState:
        """First and last sequence and size."""
        raw = await self.request(f"STREAM.INFO.{stream}")
        state, config = raw["state"], raw.get("config") or {}
        return StreamState(
            state["messages"], state["bytes"], state["first_seq"], state["last_seq"],
            int(config.get("max_bytes", -1)), tuple(config.get("subjects") or ()),
            _utc_ns(state["first_ts"]) if state["messages"] and "first_ts" in state else 0,
        )  # fmt: skip

    async def last(self, stream: str, subject: str) -> Received | None:
        """The newest message of a subject; None when there is none."""
        if self._is_leader_asked:
            return await self._ask_leader(stream, {"last_by_subj": subject})
        return await self._direct(stream, f"DIRECT.GET.{stream}.{subject}")

    async def get(self, stream: str, seq: int) -> Received | None:
        """One message by sequence; None when it is not there."""
        if self._is_leader_asked:
            return await self._ask_leader(stream, {"seq": seq})
        return await self._direct(stream, f"DIRECT.GET.{stream}", msgspec.json.encode({"seq": seq}))

    async def next(self, stream: str, seq: int, subject_filter: str, *, timeout_s: float = 5.0) -> Received | None:
        """The first message at or after `seq` that fits the filter; None when there is none."""
        body = {"seq": seq, "next_by_subj": subject_filter}
        if self._is_leader_asked:
            return await self._ask_leader(stream, body)
        return await self._direct(stream, f"DIRECT.GET.{stream}", msgspec.json.encode(body), timeout_s)

    async def _ask_leader(self, stream: str, body: Mapping[str, object]) -> Received | None:
        try:
            answer = await self.request(f"STREAM.MSG.GET.{stream}", body)
        except NotFoundError as error:
            if f"({_NO_MESSAGE})" in str(error.got):
                return None
            raise
        return _stored(answer)

    async def _direct(
        self, stream: str, subject: str, payload: bytes = b"", timeout_s: float = 5.0
    ) -> Received | None:  # fmt: skip
        async def ask() -> Received | None:
            message = await self.connection.request(f"{self.prefix}.{subject}", payload, timeout_s=timeout_s)
            return received(message, stream)

        return await patiently(ask, patience_s=self._patience_s, where=stream)


def _stored(answer: Mapping[str, Any]) -> Received:
    """The message in an answer of STREAM.MSG.GET. Raises ProtocolViolation."""
    try:
        raw = answer["message"]
        headers = b64decode(raw["hdrs"]) if raw.get("hdrs") else None
        time_ns = _utc_ns(raw["time"])
        return Received(raw["subject"], b64decode(raw.get("data") or ""), headers, int(raw["seq"]), time_ns)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ProtocolViolation("JetStream's answer holds no message", frame=str(answer)[:256].encode()) from error


def _utc_ns(text: str) -> int:
    """RFC 3339 in UTC; microseconds count. Raises ValueError."""
    return (datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND * 1000


def received(message: WireMessage, stream: str) -> Received | None:
    """The answer to a direct get. Raises Unreachable, ProtocolViolation."""
    headers = parse_headers(message[3])
    if headers.status == 404:
        return None
    if headers.status:
        raise Unreachable("direct get refused", where=stream, got=f"{headers.status} {headers.description}".lower())
    try:
        return Received(
            headers.values["Nats-Subject"], message[4], message[3], int(headers.values["Nats-Sequence"]),
            _utc_ns(headers.values["Nats-Time-Stamp"]),
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise ProtocolViolation("direct get without its headers", frame=message[3] or b"") from error


def decode_answer(payload: bytes, *, where: str) -> dict[str, Any]:
    """An API or publish answer. Raises the PlantError that fits its error."""
    try:
        answer = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise ProtocolViolation("JetStream's answer is not JSON", frame=payload[:256]) from error
    if not isinstance(answer, dict):
        raise ProtocolViolation("JetStream's answer is no object", frame=payload[:256])
    if "error" in answer:
        raise translate(answer["error"], where)
    return answer


def translate(error: dict[str, Any], where: str) -> PlantError:
    """The PlantError of a JetStream error object."""
    code, text = int(error.get("err_code", 0)), str(error.get("description", "")).lower()
    got = f"{text} ({code})"
    if code in _FULL:
        return StoreFullError("the stream is full", where=where, got=got)
    if code in WRONG_LAST_SEQUENCE:
        return FencedError("another instance writes under this name", where=where, got=got)
    if code in _NOT_FOUND:
        return NotFoundError("not in JetStream", where=where, got=got)
    if code in _BUSY or int(error.get("code", 0)) in (429, 500, 503, 408):
        return Unreachable("JetStream is not ready", where=where, got=got)
    return Refused("JetStream refused", where=where, got=got, err_code=code)


class Refused(PlantError):
    """JetStream's answer to a request that cannot succeed as it is; `err_code` is JetStream's."""

    default_code = "MS-0403"

    def __init__(self, what: str, *, err_code: int, where: str | None = None, got: str | None = None) -> None:
        super().__init__(what, where=where, got=got)
        self.err_code = err_code

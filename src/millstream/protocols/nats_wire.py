"""The NATS client protocol without I/O: an incremental parser, encoders, header blocks, and JetStream's reply subjects.

Sources: docs.nats.io "Client Protocol"; ADR-4 (headers); ADR-15 (JetStream reply subject); ADR-51 (its second form).
Payloads are taken by length, never by looking for line ends, so any bytes pass. The cost is about 1 us a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from operator import sub
from typing import Any, NamedTuple

import msgspec

from millstream.kernel import DecodeError, ProtocolViolation

CRLF = b"\r\n"
LINE_BYTES_MAX = 64 * 1024  # an INFO line of a large cluster is a few KiB; nats-server's own bound is 4 KiB a command
PAYLOAD_BYTES_MAX = 64 * 1024 * 1024  # nats-server's highest max_payload
VERSION_LINE = b"NATS/1.0"
LOOK_BYTES = 16 * 1024  # for a run, after there was none
RUNS_COUNT_MAX = 4  # of messages alike that are looked for in one chunk
BETWEEN_RUNS_COUNT = 8  # messages and lines that may stand between two of them

WireMessage = tuple[int, bytes, bytes, "bytes | None", bytes]
"""(subscription id, subject, reply or empty, raw header block or None, payload); a bare tuple because millions are
made."""


class Control(NamedTuple):
    """A protocol line that is no message: INFO (JSON), PING, PONG, +OK or -ERR (text)."""

    verb: str
    text: bytes = b""


class WireParser:
    """Takes chunks as they come from the socket, gives whole messages and control lines."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._held_bytes = 0
        self._need_bytes = 0  # do not look again before this many bytes are held

    def feed(self, data: bytes) -> tuple[list[WireMessage], list[Control]]:
        """All that is complete with `data`, each kind in order. Raises ProtocolViolation."""
        if self._chunks:
            self._chunks.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._need_bytes:
                return [], []
            data = b"".join(self._chunks)
            self._chunks.clear()
        messages: list[WireMessage] = []
        controls: list[Control] = []
        at, look_bytes = 0, len(data)
        for _ in range(RUNS_COUNT_MAX):
            begun = at
            at = _take_runs(data, at, min(len(data), at + look_bytes), messages)
            # Where kinds take turns, looking for a run to the end of the data again and again costs more than the rest.
            look_bytes = LOOK_BYTES if at == begun else 2 * look_bytes
            at, need = _take_any(data, at, messages, controls, count_max=BETWEEN_RUNS_COUNT)
            if at == begun:
                break
        else:
            at, need = _take_any(data, at, messages, controls)
        if at < len(data):
            self._chunks.append(data[at:] if at else data)
        self._held_bytes = len(data) - at
        self._need_bytes = need
        return messages, controls


def _take_runs(data: bytes, at: int, stop: int, messages: list[WireMessage]) -> int:
    """The run of messages alike from `at` on, as far as `stop`, which is what a read consists of; where it ends (`at`:
    there is none)."""
    verb = data[at : at + 4]
    if verb not in (b"MSG ", b"HMSG"):
        return at
    end = _take_run(data, at, stop, verb == b"HMSG", messages)
    if end == at:  # then most likely something else stands between
        hint = _run_end(data, at, stop, verb == b"HMSG")
        if hint < stop:
            end = _take_run(data, at, hint, verb == b"HMSG", messages)
    return end


def _take_run(data: bytes, at: int, stop: int, has_headers: bool, messages: list[WireMessage]) -> int:
    """All from `at` to `stop`, if they are alike; where they end.

    Alike means one subscription, a reply, and the same number of header lines. The work is done column by column, a few
    C calls for all of them. The lengths are compared afterwards, so a payload with a line end in it, or anything else
    that is not such a run, is noticed; `_take_any` takes that message by message."""
    lines = data[at:stop].split(CRLF)
    headers: Iterable[bytes | None]
    try:
        each, width = (lines.index(b"", 2) + 2, 6) if has_headers else (2, 5)
        end = (len(lines) - 1) // each * each
        heads, payloads = lines[0:end:each], lines[each - 1 : end : each]
        count = len(heads)
        fields = b" ".join(heads).split(b" ")
        sids = fields[2::width]
        sid, sizes = int(sids[0]), list(map(int, fields[width - 1 :: width]))
        if has_headers:
            parts = [lines[n:end:each] for n in range(1, each - 1)]
            blocks = list(map(CRLF.join, zip(*parts, repeat(b"", count), strict=True)))
            headers, header_sizes = blocks, list(map(int, fields[4::width]))
            is_whole = header_sizes == list(map(len, blocks))
            is_whole = is_whole and list(map(sub, sizes, header_sizes)) == list(map(len, payloads))
        else:
            headers = repeat(None, count)
            is_whole = sizes == list(map(len, payloads))
    except (ValueError, IndexError):
        return at
    is_alike = fields[0::width].count(b"HMSG" if has_headers else b"MSG") == count == sids.count(sids[0])
    if len(fields) != width * count or not is_whole or not is_alike:
        return at
    messages.extend(zip(repeat(sid, count), fields[1::width], fields[3::width], headers, payloads, strict=True))
    return at + sum(map(len, heads)) + sum(sizes) + 4 * count


def _run_end(data: bytes, at: int, stop: int, has_headers: bool) -> int:
    """Where something else than the run may begin: only a hint, so that the detour is small."""
    other = data.find(b"\r\nMSG " if has_headers else b"\r\nHMSG ", at, stop)
    stop = stop if other < 0 else other + 2
    if has_headers and (status := data.find(b"\r\nNATS/1.0 ", at, stop)) >= 0:  # the line before is its head
        stop = data.rfind(CRLF, at, status) + 2
    return stop


def _take_any(
    data: bytes, at: int, messages: list[WireMessage], controls: list[Control], *, count_max: int | None = None
) -> tuple[int, int]:
    """What is complete from `at` on, at most `count_max` lines or messages; where it ends, and how many bytes what
    comes next needs (0: unknown)."""
    size = len(data)
    find = data.find
    append = messages.append
    for _ in repeat(None) if count_max is None else repeat(None, count_max):
        end = find(CRLF, at)
        if end < 0:
            if size - at > LINE_BYTES_MAX:
                raise ProtocolViolation("line has no end", frame=data[at : at + 256])
            break
        line = data[at:end]
        start = end + 2
        verb = line[:4]
        if verb not in (b"MSG ", b"HMSG"):
            controls.append(_control(line))
            at = start
            continue
        parts = line.split()
        fields = 4 if verb == b"MSG " else 5
        if not fields <= len(parts) <= fields + 1:
            raise ProtocolViolation("message line has the wrong number of fields", frame=line[:256])
        sid = _number(parts[2], line)
        head = start + _number(parts[-2], line) if fields == 5 else start
        stop = start + _number(parts[-1], line)
        if stop + 2 > size:
            return at, stop + 2 - at
        if head > stop or data[stop : stop + 2] != CRLF:
            raise ProtocolViolation("message does not end where it says", frame=line[:256])
        reply = parts[3] if len(parts) > fields else b""
        append((sid, parts[1], reply, data[start:head] if fields == 5 else None, data[head:stop]))
        at = stop + 2
    return at, 0


def _number(text: bytes, line: bytes) -> int:
    if not text.isdigit() or (value := int(text)) > PAYLOAD_BYTES_MAX:
        raise ProtocolViolation("message line has no length", frame=line[:256])
    return value


def _control(line: bytes) -> Control:
    verb, _, text = line.partition(b" ")
    name = verb.upper()
    if name in (b"PING", b"PONG", b"+OK", b"INFO", b"-ERR"):
        return Control(name.decode("ascii"), text.strip().strip(b"'") if name == b"-ERR" else text)
    raise ProtocolViolation("not a line of the NATS protocol", frame=line[:256])


_SUBJECT = re.compile(r"[^\s\x00.*>]+(?:\.[^\s\x00.*>]+)*\Z")


@lru_cache(maxsize=65536)
def subject_bytes(subject: str) -> bytes:
    """A literal subject as it goes on the wire. Raises DecodeError for blanks, wildcards and empty tokens."""
    if not _SUBJECT.match(subject):
        raise DecodeError("not a literal subject", got=repr(subject[:128]), code="MS-0301")
    return subject.encode("utf-8")


def subject_matches(subject: str, pattern: str) -> bool:
    """NATS wildcards: ``*`` is one token, a last ``>`` is one or more."""
    have, want = subject.split("."), pattern.split(".")
    if want[-1] == ">":
        return len(have) >= len(want) and all(w in ("*", h) for h, w in zip(have, want[:-1], strict=False))
    return len(have) == len(want) and all(w in ("*", h) for h, w in zip(have, want, strict=True))


def encode_pub(subject: bytes, reply: bytes, payload: bytes) -> bytes:
    """One PUB; `reply` may be empty."""
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)


def encode_hpub(subject: bytes, reply: bytes, lines: bytes, payload: bytes) -> bytes:
    """One HPUB; `lines` are header lines, each with its line end (`encode_header_lines`)."""
    size = len(lines) + 12  # version line and the empty line
    return b"HPUB %b %b %d %d\r\nNATS/1.0\r\n%b\r\n%b\r\n" % (
        subject, reply, size, size + len(payload), lines, payload,
    )  # fmt: skip


def encode_header_lines(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines without version line and end. Raises DecodeError for a name or value that would break out."""
    for name, value in headers:
        if not name or not _HEADER_NAME.match(name) or "\r" in value or "\n" in value:
            raise DecodeError("not a header", got=repr(f"{name}: {value}"[:128]), code="MS-0301")
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode("utf-8")


_HEADER_NAME = re.compile(r"[!-9;-~]+\Z")


class HeaderBlock(NamedTuple):
    """A parsed header block. Names keep their case; of a repeated name the last value stands. `status` is the in-line
    status (100, 404, 408, 409, 503), 0 without one."""

    values: dict[str, str]
    status: int = 0
    description: str = ""

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of `name`, in any case of letters."""
        if name in self.values:
            return self.values[name]
        lower = name.lower()
        return next((v for k, v in self.values.items() if k.lower() == lower), default)


def parse_headers(block: bytes | None) -> HeaderBlock:
    """Take a header block apart. Raises ProtocolViolation."""
    if not block:
        return HeaderBlock({})
    if not block.startswith(VERSION_LINE):
        raise ProtocolViolation("header block has no version line", frame=block[:256])
    first, *rest = block.split(CRLF)
    status, description = 0, ""
    inline = first[len(VERSION_LINE) :].strip()
    if inline:
        code, _, text = inline.partition(b" ")
        if not code.isdigit():
            raise ProtocolViolation("header block has a malformed status", frame=block[:256])
        status, description = int(code), text.decode("utf-8", "replace").strip()
    values: dict[str, str] = {}
    for line in rest:
        if line:
            name, colon, value = line.partition(b":")
            if not colon:
                raise ProtocolViolation("header line has no colon", frame=line[:256])
            values[name.decode("utf-8", "replace")] = value.strip().decode("utf-8", "replace")
    return HeaderBlock(values, status, description)


class AckSubject(NamedTuple):
    """What the reply subject of a delivered message says; `time_ns` is when it was stored, UTC."""

    stream_seq: int
    consumer_seq: int
    time_ns: int
    pending: int


def parse_ack_subject(reply: bytes) -> AckSubject:
    """Both forms: ``$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>``, and the one
    with ``<domain>.<account hash>`` before the stream and further tokens at the end. Raises ProtocolViolation."""
    parts = reply.split(b".")
    at = 5 if len(parts) == 9 else 7
    try:
        if parts[0] != b"$JS" or parts[1] != b"ACK":
            raise ValueError("no ack subject")
        return AckSubject(int(parts[at]), int(parts[at + 1]), int(parts[at + 2]), int(parts[at + 3]))
    except (ValueError, IndexError) as error:
        raise ProtocolViolation("not a JetStream reply subject", frame=reply[:256]) from error


def parse_info(text: bytes) -> Mapping[str, Any]:
    """The server's INFO. Raises ProtocolViolation."""
    try:
        info = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ProtocolViolation("server's INFO is not JSON", frame=text[:256]) from error
    if not isinstance(info, dict):
        raise ProtocolViolation("server's INFO is no object", frame=text[:256])
    return info


def encode_connect(options: Mapping[str, object]) -> bytes:
    """The CONNECT line."""
    return b"CONNECT " + msgspec.json.encode(options) + CRLF

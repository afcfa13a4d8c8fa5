"""Compressed payloads: an extension that Sparkplug's reference libraries share, outside of the specification.

A payload whose uuid says so holds another one in its body; a metric `algorithm` says how, DEFLATE when there is none.
"""

from __future__ import annotations

import zlib

from millstream.kernel import DecodeError
from millstream.protocols.sparkplug import PAYLOAD_BYTES_MAX, Payload
from millstream.protocols.sparkplug_wire import decode_payload

COMPRESSED = "SPBV1.0_COMPRESSED"
ALGORITHMS = {"DEFLATE": zlib.MAX_WBITS, "GZIP": zlib.MAX_WBITS | 16}
"""Bits for zlib; the libraries' DEFLATE has zlib's head (RFC 1950)."""


def decode_whole(raw: bytes) -> Payload:
    """The payload of a message, expanded if need be. Raises DecodeError when the bytes are none, or too many."""
    payload = decode_payload(raw)
    if payload.uuid != COMPRESSED:
        return payload
    inner = decode_payload(_expanded(payload.body or b"", _algorithm(payload)))
    if inner.uuid == COMPRESSED:
        raise _malformed("compressed payload holds a compressed one")
    return inner


def _algorithm(payload: Payload) -> str:
    named = next((metric.raw for metric in payload.metrics if metric.name == "algorithm"), None)
    if named is None:
        return "DEFLATE"
    name = named.value.upper() if isinstance(named.value, str) else repr(named.value)
    if name not in ALGORITHMS:
        raise _malformed("payload is compressed in a way that is not known", " or ".join(ALGORITHMS), name[:40])
    return name


def _expanded(body: bytes, algorithm: str) -> bytes:
    expander = zlib.decompressobj(ALGORITHMS[algorithm])
    try:
        found = expander.decompress(body, PAYLOAD_BYTES_MAX + 1)
    except zlib.error as error:
        raise _malformed(f"compressed payload is no {algorithm}", got=str(error)[:120]) from error
    if len(found) > PAYLOAD_BYTES_MAX:
        raise _malformed("compressed payload is too large", f"at most {PAYLOAD_BYTES_MAX} bytes", "more")
    if not expander.eof:
        raise _malformed("compressed payload breaks off")
    return found


def _malformed(what: str, expected: str | None = None, got: str | None = None) -> DecodeError:
    return DecodeError(what, expected=expected, got=got, code="MS-1501")

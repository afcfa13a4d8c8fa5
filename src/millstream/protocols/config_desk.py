"""What people ask of a hub about configurations, below a path (`below.CONFIG`). Pure.

A question is one line of JSON; behind it, in a "put", the revision byte by byte. Answers have a header ``Ms-Status:
done`` at the last part; a "history" has a part for each revision, with its sequence in ``Ms-Seq``. The hub stores what
is signed by an author of the operator's for that site, and nothing else.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.site_config import PAYLOAD_BYTES_MAX

ASK_BYTES_MAX = 32 << 10
STATUS, SEQ, ERROR = "Ms-Status", "Ms-Seq", "Ms-Error"
STALE = "MS-2406"
"""The code of a "put" that stands on what is no longer the newest."""


class ConfigAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One question. "sites": what lies below the path; "history" and "report" of the site `edge`; "missing": which of
    `modules` the hub does not have; "put": store what follows for `edge`, if `last_seq` is still the newest."""

    action: Literal["sites", "history", "report", "missing", "put"]
    edge: str = ""
    modules: tuple[str, ...] = ()
    last_seq: int = 0


Ask = TypeVar("Ask", bound=msgspec.Struct)
_decoder = msgspec.json.Decoder(ConfigAsk)


def encode_ask(ask: msgspec.Struct, body: bytes = b"") -> bytes:
    """As a hub reads it: the question, and behind it what it is about, such as a revision."""
    return msgspec.json.encode(ask) + b"\n" + body


def decode_ask(payload: bytes) -> tuple[ConfigAsk, bytes]:
    """The question and the revision behind it. Raises DecodeError (MS-2418)."""
    return decode_with(_decoder, payload)


def decode_with(decoder: msgspec.json.Decoder[Ask], payload: bytes) -> tuple[Ask, bytes]:
    """A question of another desk of the same form. Raises DecodeError (MS-2418)."""
    line, _, body = payload.partition(b"\n")
    if len(line) > ASK_BYTES_MAX or len(body) > PAYLOAD_BYTES_MAX:
        raise DecodeError("the question is too large", got=f"{len(payload)} bytes", code="MS-2418")
    try:
        return decoder.decode(line), body
    except msgspec.DecodeError as error:
        raise DecodeError(
            "not a question about configurations", got=str(error).lower()[:200], code="MS-2418"
        ) from error

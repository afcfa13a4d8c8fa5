"""What an author does with what lies at a hub already, signed as what is put there: steering a roll-out, removing a
module. Pure.

A signature of an act says what it was done upon, so that it does nothing when it is sent again: of a roll-out, when it
began and how often it was steered before; of a module, the newest manifest that its author saw. No clocks are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.module import Manifest
from millstream.protocols.rollout import Rollout
from millstream.protocols.site_config import AUTHOR_CHARS_MAX, Signature

ACT_BYTES_MAX = 16 << 10
SIGNING_CONTEXT = b"millstream-act-1"

Verb: TypeAlias = Literal["stop", "cancel", "resume", "remove"]


class Act(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """`verb` upon `subject`, a roll-out's name or a module's digest, as it stood at `upon`."""

    verb: Verb
    subject: str
    upon: str
    author: str
    time_ns: int
    signature: Signature | None = None


_decoder = msgspec.json.Decoder(Act)


def upon_rollout(rollout: Rollout) -> str:
    """How a roll-out stands, for whoever steers it next."""
    return f"{rollout.created_ns}.{rollout.turn}"


def upon_module(manifests: Sequence[Manifest]) -> str:
    """How a module stands, for who sees these manifests of it."""
    return str(max((manifest.time_ns for manifest in manifests), default=0))


def signed_act(act: Act) -> bytes:
    """Exactly what an author signs: a context, then each field as a netstring."""
    fields = (
        SIGNING_CONTEXT, act.verb.encode(), act.subject.encode(), act.upon.encode(), act.author.encode(),
        b"%d" % act.time_ns,
    )  # fmt: skip
    return b"".join(b"%d:%s," % (len(field), field) for field in fields)


def encode_act(act: Act) -> bytes:
    """As it is sent, and kept."""
    return msgspec.json.encode(act)


def decode_act(payload: bytes, verb: str, subject: str) -> Act | None:
    """The act that comes with a question; None: there is none. Raises DecodeError (MS-2418) for one of another."""
    if not payload:
        return None
    try:
        if len(payload) > ACT_BYTES_MAX:
            raise ValueError("too long")
        act = _decoder.decode(payload)
        if (act.verb, act.subject) != (verb, subject):
            raise ValueError(f"it is {act.verb} of {act.subject[:80]}")
        if not 0 < len(act.author) <= AUTHOR_CHARS_MAX or not act.author.isprintable() or act.time_ns < 0:
            raise ValueError(f"author is 1 to {AUTHOR_CHARS_MAX} characters on one line, time_ns is UTC")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError("not the act that is asked for", got=str(error).lower()[:160], code="MS-2418") from error
    return act

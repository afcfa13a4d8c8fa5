"""Commands to edges: what a hub delivers, what an edge answers, and the states between asked and ended. JSON both ways.

A command has one effect at most at each node. Its `id` is the key of that promise: an edge that knows the id answers
with the state that it has, and never begins again. A command is over when its state is in `FINAL`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.fleet_filter import FILTER_CHARS_MAX

T = TypeVar("T")
ARGS_BYTES_MAX = 8 * 1024
RESULT_BYTES_MAX = 256 * 1024  # of an event; what is larger is told as a failure to tell
LIFETIME_NS_MAX = 366 * 86_400 * 10**9
PRIORITY_MAX = 9
WHO_CHARS_MAX = 128
NODES_COUNT_MAX = 2000
EVENT_TYPE = "millstream.command"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,63}\Z")

State: TypeAlias = Literal[
    "pending", "sent", "accepted", "running", "done", "failed", "refused", "unknown", "cancelled", "expired", "skipped"
]
"""`pending`: at the hub only. `sent`: the edge may have it. `accepted`: the edge has it, on disk. `unknown`: it was
begun, and whether it had its effect is not known. `skipped`: the edge does not fit the command's filter."""
FINAL = frozenset(("done", "failed", "refused", "unknown", "cancelled", "expired", "skipped"))
RANK: Mapping[str, int] = {"pending": 0, "sent": 1, "accepted": 2, "running": 3} | dict.fromkeys(FINAL, 4)
"""States only go up."""


class Command(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One command. `where` is a filter in CEL that the edge applies to itself; times are UTC ns; of two that wait, the
    one of higher `priority` (0 to 9) begins first; `who` is for the audit."""

    id: str
    type: str
    who: str
    created_ns: int
    expires_ns: int
    args: dict[str, Any] = {}
    priority: int = 5
    where: str | None = None


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a hub sends to ``millstream.node.<edge>.command``; it is answered on ``millstream.fleet.answer.<edge>.
    <token>``. With `cancel_who` the command is to be cancelled, and never to begin if it has not yet come.
    `was_accepted`: the edge has said before that it has it, so it must not begin it as if it were new."""

    token: str
    command: Command
    cancel_who: str | None = None
    was_accepted: bool = False


class DeliveryAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the command stands at the edge, on disk there. `busy`: not taken now, send it again later."""

    state: Literal[State, "busy"]
    time_ns: int
    code: str | None = None
    reason: str | None = None


_delivery = msgspec.json.Decoder(Delivery)
_answer = msgspec.json.Decoder(DeliveryAnswer)


def decode_delivery(payload: bytes) -> Delivery:
    """What an edge is sent. Raises DecodeError (MS-2300)."""
    delivery = decoded(_delivery, payload)
    if not delivery.token.isalnum() or len(delivery.token) > 32 or not delivery.token.isascii():
        raise malformed("a token of letters and digits")
    check_command(delivery.command)
    return delivery


def decode_delivery_answer(payload: bytes) -> DeliveryAnswer:
    """What an edge answers. Raises DecodeError (MS-2300)."""
    return decoded(_answer, payload)


def decoded(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """Bounded JSON. Raises DecodeError (MS-2300)."""
    if len(payload) > 4 * ARGS_BYTES_MAX + 80 * NODES_COUNT_MAX:
        raise malformed("a message of that size", f"{len(payload)} bytes")
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed("JSON with the fields of a command", str(error)[:120]) from error


def check_command(command: Command) -> None:
    """Raises DecodeError (MS-2300)."""
    if not _ID.match(command.id):
        raise malformed("an id of 1 to 64 letters, digits, _ and -", repr(command.id)[:80])
    if not _TYPE.match(command.type):
        raise malformed("a type such as restart_connector", repr(command.type)[:80])
    if not 0 < len(command.who) <= WHO_CHARS_MAX or not command.who.isprintable():
        raise malformed(f"who asks, in 1 to {WHO_CHARS_MAX} characters")
    if not 0 <= command.priority <= PRIORITY_MAX:
        raise malformed(f"a priority of 0 to {PRIORITY_MAX}", str(command.priority)[:20])
    if not 0 < command.created_ns < 2**63 or not 0 < command.expires_ns - command.created_ns <= LIFETIME_NS_MAX:
        raise malformed("an expiry behind its creation, by a year at most")
    if len(msgspec.json.encode(command.args)) > ARGS_BYTES_MAX:
        raise malformed(f"arguments of at most {ARGS_BYTES_MAX} bytes")
    if command.where is not None and len(command.where) > FILTER_CHARS_MAX:
        raise malformed(f"a filter of at most {FILTER_CHARS_MAX} characters")


def is_id(text: str) -> bool:
    """Whether a text can be a command's id."""
    return _ID.match(text) is not None


def malformed(expected: str, got: str | None = None) -> DecodeError:
    """The error for what is no command."""
    return DecodeError("this is no command", expected=expected, got=got, code="MS-2300")

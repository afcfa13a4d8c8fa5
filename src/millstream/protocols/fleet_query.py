"""Live query of a fleet: what is asked of every edge at once, and what each answers. JSON both ways.

A hub publishes one `FleetQuery` on ``millstream.fleet.query``; each edge answers on ``millstream.fleet.answer.<edge>.
<id>``, and the hub's server lets an edge publish below its own name only. So whose an answer is stands in its subject,
and what its payload says of that is not read. An edge that the filter does not fit says so in a few bytes: who is
missing is known exactly. A query of somebody who may ask some edges only goes to each of them on
``millstream.node.<edge>.query``, which no other edge hears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.fleet_filter import FILTER_CHARS_MAX, Outcome

T = TypeVar("T")
QUERY_SUBJECT = "millstream.fleet.query"

ANSWER_PREFIX = "millstream.fleet.answer."
ID_CHARS_MAX = 32
SELECTED_COUNT_MAX = 64
SELECTED_CHARS_MAX = 200
ANSWER_BYTES_MAX = 64 * 1024  # of one node; what is larger is answered without its facts, and says so
NODES_COUNT_MAX = 2000  # named in one query
ALL = "*"
USUAL = ("path", "version.millstream", "os.name", "link.state", "connectors.*.state", "uptime_s")
"""What is answered of a node when nobody says."""


class FleetQuery(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One question. `filter` is CEL, None fits every node; `select` are names of facts with ``*`` for one level, empty:
    the usual ones; `nodes` None asks all."""

    id: str
    filter: str | None = None
    select: tuple[str, ...] = ()
    nodes: tuple[str, ...] | None = None


class FleetAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one node says. `facts` only for a match. `reason` and `code` for what is absent or went wrong."""

    state: Outcome
    facts: Mapping[str, Any] | None = None
    reason: str | None = None
    code: str | None = None


class FleetQuestion(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a client asks of ``millstream.node.<hub>.fleet``; replied with one `FleetMatch` a node that fits or failed,
    and a `FleetSummary` at the end (header ``Ms-Status: done``)."""

    filter: str | None = None
    select: tuple[str, ...] = ()
    nodes: tuple[str, ...] | None = None
    deadline_s: float = 2.0


class FleetMatch(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node's answer as the hub passes it on; `node` is the name that the hub's server vouches for."""

    node: str
    state: Outcome
    facts: Mapping[str, Any] | None = None
    reason: str | None = None
    code: str | None = None


class FleetSummary(msgspec.Struct, frozen=True):
    """The account of one query: `expected` = `answered` + `silent` + `missing`. `absent`: nodes without a fact that the
    filter asks for. `silent`: reached a moment ago, and no answer came. `missing`: not reached, with when it last was
    (UTC ns, None: never since the hub's start)."""

    expected: int
    answered: int
    matching: int
    absent: Sequence[str]
    failed: Sequence[str]
    silent: Sequence[str]
    missing: Mapping[str, int | None]
    unreadable: Sequence[str]
    took_ms: float


_query = msgspec.json.Decoder(FleetQuery)
_answer = msgspec.json.Decoder(FleetAnswer)
_question = msgspec.json.Decoder(FleetQuestion)


def query_subject(edge: str) -> str:
    """Where one edge is asked, and no other hears it."""
    return f"millstream.node.{edge}.query"


def decode_query(payload: bytes) -> FleetQuery:
    """What an edge is asked. Raises DecodeError (MS-2200)."""
    query = _decoded(_query, payload, "not a fleet query")
    if not 0 < len(query.id) <= ID_CHARS_MAX or not query.id.isalnum() or not query.id.isascii():
        raise DecodeError("not a fleet query", expected="an id of letters and digits", code="MS-2200")
    check_select(query.select)
    return query


def decode_question(payload: bytes) -> FleetQuestion:
    """What a hub is asked. Raises DecodeError (MS-2200)."""
    question = _decoded(_question, payload, "not a fleet question")
    check_select(question.select)
    if not 0 < question.deadline_s <= 60 or len(question.nodes or ()) > NODES_COUNT_MAX:
        raise DecodeError(
            "not a fleet question", expected=f"a deadline of up to 60 s and at most {NODES_COUNT_MAX} names",
            code="MS-2200",
        )  # fmt: skip
    return question


def decode_answer(payload: bytes) -> FleetAnswer:
    """What an edge says. Raises DecodeError (MS-2204) when it is too large or malformed."""
    if len(payload) > ANSWER_BYTES_MAX:
        raise DecodeError("a node's answer is too large", got=f"{len(payload)} bytes", code="MS-2204")
    try:
        return _answer.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError("a node's answer cannot be read", got=str(error)[:120], code="MS-2204") from error


def encode_answer(answer: FleetAnswer) -> bytes:
    """As JSON; when that is too large, the same without its facts and with the reason."""
    payload = msgspec.json.encode(answer)
    if len(payload) <= ANSWER_BYTES_MAX:
        return payload
    reason = f"the answer would take {len(payload)} bytes, expected at most {ANSWER_BYTES_MAX}; select fewer facts"
    return msgspec.json.encode(FleetAnswer("error", None, reason, "MS-2204"))


def _decoded(decoder: msgspec.json.Decoder[T], payload: bytes, what: str) -> T:
    if len(payload) > 4 * FILTER_CHARS_MAX + SELECTED_COUNT_MAX * SELECTED_CHARS_MAX + 64 * NODES_COUNT_MAX:
        raise DecodeError(what, got=f"{len(payload)} bytes", code="MS-2200")
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(what, got=str(error)[:120], code="MS-2200") from error


def check_select(select: Sequence[str]) -> None:
    """Raises DecodeError (MS-2200) for names that are none, or too many."""
    if len(select) > SELECTED_COUNT_MAX or any(not name or len(name) > SELECTED_CHARS_MAX for name in select):
        raise DecodeError(
            "the facts to show cannot be read", expected=f"at most {SELECTED_COUNT_MAX} names such as os.name",
            code="MS-2200",
        )  # fmt: skip


def pick(facts: Mapping[str, Any], select: Sequence[str]) -> dict[str, Any]:
    """The selected part of the facts, nested as they are; a selected fact that is absent stays absent."""
    if ALL in select:
        return dict(facts)
    found: dict[str, Any] = {}
    for name in select or USUAL:
        _copy(facts, name.split("."), found)
    return found


def _copy(source: Mapping[str, Any], levels: Sequence[str], into: dict[str, Any]) -> None:
    for key in source if levels[0] == "*" else [levels[0]]:
        if key not in source:
            continue
        value = source[key]
        if len(levels) == 1:
            into[key] = value
        elif isinstance(value, Mapping):
            part: dict[str, Any] = {}
            _copy(value, levels[1:], part)
            if part:
                into[key] = _joined(into.get(key), part)


def _joined(old: Any, new: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(old, Mapping):
        return new
    return {**old, **{key: _joined(old.get(key), v) if isinstance(v, dict) else v for key, v in new.items()}}

"""What the audit says of an act: who, from where, and how what was acted upon stood before and after. Pure.

All who write it use `act_data`: so each event has the same fields, and no secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

AUDIT_TYPE = "millstream.audit"
REQUEST_INFO = "Nats-Request-Info"
"""Header in which nats-server says who asked across accounts, when the import shares it."""
HIDDEN = "(secret)"
NOT_KNOWN: Mapping[str, Any] = {"known": False}
"""What stands for how it was before, where nobody knows."""
TEXT_CHARS_MAX = 400
ITEMS_COUNT_MAX = 100  # of one list or object; an event is read by people
DEPTH_MAX = 6
_SECRET = re.compile(r"(?:pass(?:word|phrase|wd)?|secrets?|tokens?|seed|totp|private_key|creds|credentials)\Z", re.I)
_WORD = re.compile(r"[A-Za-z_]+")


def act_data(
    who: str, origin: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, **more: object
) -> dict[str, Any]:  # fmt: skip
    """The data of an audit event. `origin` is an address or a host; without one it is the host that `who` names
    (``ann@box3``). `before` None: it was not there; `after` None: it is gone."""
    shown = {name: shown_value(value) for name, value in more.items() if value is not None}
    return {
        "who": who[:TEXT_CHARS_MAX], "from": (origin or host_of(who))[:TEXT_CHARS_MAX],
        "before": None if before is None else shown_value(before),
        "after": None if after is None else shown_value(after), **shown,
    }  # fmt: skip


def put_name(edge: str, revision: int) -> str:
    """By which id it is told that a revision of a site's configuration was put: by whoever tells it, once."""
    return f"config|{edge}|{revision}"


def rollout_name(name: str, turn: int) -> str:
    """By which id it is told that a roll-out was started (turn 0) or steered: by whoever tells it, once."""
    return f"rollout|{name}|{turn}"


def pushed_name(digest: str, author: str, time_ns: int) -> str:
    """The same of a module that an author has pushed, at the time that the manifest says."""
    return f"module|{digest}|{author}|{time_ns}"


def contract_name(label: str, published_ns: int) -> str:
    """The same of a version of a contract."""
    return f"contract|{label}|{published_ns}"


def host_of(who: str) -> str:
    """The host in ``ann@box3``; "" when none is named."""
    return who.partition("@")[2]


def shown_value(value: Any, depth: int = 0) -> Any:
    """A value as the audit may have it: secrets hidden by the names that they bear, all of it bounded."""
    if isinstance(value, Mapping):
        if depth >= DEPTH_MAX:
            return "..."
        kept = list(value.items())[:ITEMS_COUNT_MAX]
        found = {str(name): _of(str(name), each, depth) for name, each in kept}
        if len(value) > len(kept):
            found["..."] = f"{len(value) - len(kept)} more"
        return found
    if isinstance(value, str):
        return value if len(value) <= TEXT_CHARS_MAX else value[: TEXT_CHARS_MAX - 3] + "..."
    if isinstance(value, Sequence):
        items = [shown_value(each, depth + 1) for each in value[:ITEMS_COUNT_MAX]]
        return items if len(value) <= ITEMS_COUNT_MAX else [*items, f"... {len(value) - ITEMS_COUNT_MAX} more"]
    return value if isinstance(value, (bool, int, float)) or value is None else str(value)[:TEXT_CHARS_MAX]


def _of(name: str, value: Any, depth: int) -> Any:
    """A truth about a secret (that there is one) and a count of some are none; a path bears names at any place."""
    if value is None or isinstance(value, (bool, int, Mapping)):
        return shown_value(value, depth + 1)
    return HIDDEN if any(_SECRET.search(word) for word in _WORD.findall(name)) else shown_value(value, depth + 1)


def origin_told(info: bytes | str | None) -> str:
    """From where a request came, as the server says in `REQUEST_INFO`: the client's address; "" when it does not."""
    if not info:
        return ""
    try:
        raw = msgspec.json.decode(info)
    except msgspec.DecodeError:
        return ""
    host = raw.get("host") if isinstance(raw, dict) else None
    return host[:TEXT_CHARS_MAX] if isinstance(host, str) else ""

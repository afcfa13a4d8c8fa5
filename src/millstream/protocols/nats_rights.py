"""What a user may hear, by its token and the scopes of its account's signing keys, as nats-server works it out. Pure.

A subscription that is wider than what may be heard is one the server takes: it delivers what may be heard and nothing
else. One that has nothing in common with it is never sent by a server that keeps to the rules.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from millstream.protocols.nats_jwt import Token

Fit = Literal["within", "wider", "apart"]
EXPANDED_COUNT_MAX = 4096  # subjects of one template: tags may stand several times
_VARIABLE = re.compile(r"\{\{\s*(?P<call>[a-z-]+)\(\s*(?P<tag>[^)\s]*)\s*\)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Hearing:
    """Subjects that may be heard; `denied` are taken out of what is `allowed`. An empty `allowed` is everything, as
    the server has it."""

    allowed: tuple[str, ...]
    denied: tuple[str, ...] = ()

    def judge(self, pattern: str) -> Fit:
        """A subscription: all of it may be heard, a part of it, or nothing."""
        allowed = self.allowed or (">",)
        if not any(overlaps(each, pattern) for each in allowed) or any(covers(each, pattern) for each in self.denied):
            return "apart"
        is_clear = not any(overlaps(each, pattern) for each in self.denied)
        return "within" if is_clear and any(covers(each, pattern) for each in allowed) else "wider"


def scopes_of(account: Token) -> Mapping[str, Mapping[str, Any]]:
    """Public key -> template of the users that it signs."""
    found = account.nats.get("signing_keys")
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return {str(entry.get("key")): entry["template"] for entry in entries if isinstance(entry.get("template"), dict)}


def hearing_of(scopes: Mapping[str, Mapping[str, Any]], user: Token) -> Hearing:
    """What the bearer of `user` may hear: by its own words, or when a scoped key signed it, by the key's template."""
    template = scopes.get(user.issuer)
    rule = (user.nats if template is None else template).get("sub")
    if not isinstance(rule, dict):
        return Hearing(())
    allowed, denied = (
        tuple(each for subject in rule.get(kind) or () for each in _filled(str(subject), user))
        for kind in ("allow", "deny")
    )
    return Hearing(allowed, denied)


def covers(pattern: str, other: str) -> bool:
    """True when each subject of the subscription `other` is one of `pattern`, too."""
    have, want = other.split("."), pattern.split(".")
    if want[-1] == ">":
        return len(have) >= len(want) and _each_covers(want[:-1], have)
    return have[-1] != ">" and len(have) == len(want) and _each_covers(want, have)


def overlaps(one: str, other: str) -> bool:
    """True when some subject is one of both subscriptions."""
    a, b = one.split("."), other.split(".")
    for left, right in zip(a, b, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(a) == len(b)


def _each_covers(want: Sequence[str], have: Sequence[str]) -> bool:
    return all(w == h or (w == "*" and h != ">") for w, h in zip(want, have, strict=False))


def _filled(subject: str, user: Token) -> list[str]:
    """A template's subject with the user's own values; none when one of them is missing."""
    found = list(dict.fromkeys(match.group(0) for match in _VARIABLE.finditer(subject)))
    values = [_values(match, user) for match in found]
    combined = itertools.islice(itertools.product(*values), EXPANDED_COUNT_MAX)
    return [_replaced(subject, dict(zip(found, each, strict=True))) for each in combined]


def _values(variable: str, user: Token) -> Sequence[str]:
    match = _VARIABLE.fullmatch(variable)
    assert match is not None
    call, tag = match.group("call"), match.group("tag")
    if call == "tag":
        return user.tags(tag)
    return {"subject": (user.subject,), "name": (str(user.claims.get("name", "")),)}.get(call, ())


def _replaced(subject: str, values: Mapping[str, str]) -> str:
    for variable, value in values.items():
        subject = subject.replace(variable, value)
    return subject

"""What people ask of a hub about roll-outs, below a path (`below.ROLLOUT`). Pure.

The form is that of `config_desk`. First each site's revision is prepared, signed by the author; then the roll-out
starts, and from there on the hub decides when, never what. A roll-out lies at the path below which it was asked for:
who may ask below a path that holds it sees, stops and resumes it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from millstream.kernel import DecodeError
from millstream.protocols.config_desk import decode_with
from millstream.protocols.rollout import SITE_TIMEOUT_S_DEFAULT, SITES_COUNT_MAX

Steering: TypeAlias = Literal["stop", "cancel", "resume"]


class RolloutAsk(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One question. "list": the roll-outs that lie below the path; "show" one; "prepare": keep the revision that
    follows, of the site `edge`; "start": with the plan that follows; "stop", "cancel" and "resume" by `who`."""

    action: Literal["list", "show", "prepare", "start", "stop", "cancel", "resume"]
    name: str = ""
    edge: str = ""
    who: str = ""


class RolloutPlan(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """What is started: each site, in order, with the sequence of what the hub had for it last; the rest as in
    `Rollout`."""

    sites: tuple[tuple[str, int], ...]
    ends: tuple[int, ...]
    comment: str = ""
    site_timeout_s: float = SITE_TIMEOUT_S_DEFAULT
    failures_max: int = 0
    passes_away: bool = False


_asks = msgspec.json.Decoder(RolloutAsk)
_plans = msgspec.json.Decoder(RolloutPlan)


def decode_rollout_ask(payload: bytes) -> tuple[RolloutAsk, bytes]:
    """The question and what follows it. Raises DecodeError (MS-2418)."""
    return decode_with(_asks, payload)


def decode_plan(body: bytes) -> RolloutPlan:
    """Raises DecodeError (MS-2418) for what is no plan."""
    try:
        plan = _plans.decode(body)
    except msgspec.DecodeError as error:
        raise DecodeError("not the plan of a roll-out", got=str(error).lower()[:200], code="MS-2418") from error
    count, ends = len(plan.sites), plan.ends
    trouble = None
    if not 0 < count <= SITES_COUNT_MAX or len({edge for edge, _ in plan.sites}) != count:
        trouble = f"1 to {SITES_COUNT_MAX} sites, each once"
    elif not ends or ends[-1] != count or ends[0] < 1 or list(ends) != sorted(set(ends)):
        trouble = "stages that grow up to all sites"
    elif len(plan.comment) > 512 or not 0 < plan.site_timeout_s <= 90 * 86400 or not 0 <= plan.failures_max <= count:
        trouble = "a comment of at most 512 characters, a time of at most 90 days, failures up to the count of sites"
    if trouble is not None:
        raise DecodeError("not the plan of a roll-out", expected=trouble, code="MS-2418")
    return plan

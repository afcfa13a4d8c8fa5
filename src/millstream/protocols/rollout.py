"""A staged roll-out: which sites get their new revision when, and when it stops. Pure: reports in, releases out.

It lies in the bucket `rollouts` (stream ``KV_rollouts``): the plan with its progress under its name, and each site's
revision, as it will be put, under ``<name>.<edge>``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from millstream.kernel import ConfigError, DecodeError

SITES_COUNT_MAX = 5_000
SITE_TIMEOUT_S_DEFAULT = 600.0
SiteStage: TypeAlias = Literal["waiting", "released", "healthy", "failed", "passed"]
"""`passed`: it was away when its time was over, and the roll-out may go on without it; it takes the revision later."""
RolloutState: TypeAlias = Literal["running", "stopped", "done", "cancelled"]
STEERED = {"stop": "stopped", "cancel": "cancelled", "resume": "resumed"}
"""What the audit says of it."""
_ENDED = ("healthy", "failed", "passed")


class RolloutSite(msgspec.Struct, frozen=True, omit_defaults=True):
    """One site: its new revision, what the hub had for it last (`base_seq`), and how far it is."""

    edge: str
    revision: int
    digest: str
    base_seq: int
    state: SiteStage = "waiting"
    released_ns: int = 0
    code: str | None = None
    reason: str | None = None


class Rollout(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A roll-out. `ends` says for each stage how many sites are reached at its end. It stops when more than
    `failures_max` sites have failed; `passes_away`: a site that does not answer in time is no failure. `place` is the
    path below which its author asked for it, and all its sites lie there; "": anywhere. `turn` counts how often people
    have steered it, and `by` is the last of these acts (`act.Act`), as it was signed."""

    name: str
    author: str
    created_ns: int
    ends: tuple[int, ...]
    sites: tuple[RolloutSite, ...]
    comment: str = ""
    state: RolloutState = "running"
    reason: str | None = None
    site_timeout_s: float = SITE_TIMEOUT_S_DEFAULT
    failures_max: int = 0
    passes_away: bool = False
    place: str = ""
    turn: int = 0
    by: dict[str, Any] | None = None

    @property
    def stage(self) -> int:
        """The stage that is under way, from 1; the number of stages when all are over."""
        for number, end in enumerate(self.ends, 1):
            if any(site.state not in _ENDED for site in self.sites[:end]):
                return number
        return len(self.ends)

    def counts(self) -> dict[str, int]:
        """How many sites are in each state."""
        found: dict[str, int] = {}
        for site in self.sites:
            found[site.state] = found.get(site.state, 0) + 1
        return found


_decoder = msgspec.json.Decoder(Rollout)


def decode_rollout(payload: bytes) -> Rollout:
    """Raises DecodeError."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError("not a roll-out", got=str(error)[:120], code="MS-2430") from error


def encode_rollout(rollout: Rollout) -> bytes:
    """The value for the bucket."""
    return msgspec.json.encode(rollout)


def stage_ends(stages: Sequence[str], sites_count: int) -> tuple[int, ...]:
    """``1``, ``25%``, ``all``: how many sites each stage reaches, counted from the first; the last reaches all. Raises
    ConfigError."""
    ends: list[int] = []
    for text in stages:
        end = _end(text.strip(), sites_count)
        if end is None or end < 1:
            raise ConfigError(
                "not a stage", expected="counts, percentages or all, such as 1,25%,all", got=repr(text)[:40],
                code="MS-2430",
            )  # fmt: skip
        if end > (ends[-1] if ends else 0):
            ends.append(min(end, sites_count))
    if not ends or ends[-1] < sites_count:
        ends.append(sites_count)
    return tuple(dict.fromkeys(ends))


def _end(text: str, sites_count: int) -> int | None:
    if text == "all":
        return sites_count
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit() and len(number) <= 6):
        return None
    return math.ceil(int(number) / 100 * sites_count) if text.endswith("%") else int(number)


def step(rollout: Rollout, reports: Mapping[str, Mapping[str, Any] | None], now_ns: int) -> tuple[Rollout, list[str]]:
    """What the sites' reports (None: away) lead to, and which sites get their revision now. They are noted as released
    by `released` once it is stored."""
    if rollout.state != "running":
        return rollout, []
    sites = tuple(_judge(site, rollout, reports.get(site.edge), now_ns) for site in rollout.sites)
    rollout = msgspec.structs.replace(rollout, sites=sites)
    failed = [site for site in sites if site.state == "failed"]
    if len(failed) > rollout.failures_max:
        reason = f"{failed[-1].edge}: {failed[-1].reason}"
        return msgspec.structs.replace(rollout, state="stopped", reason=reason), []
    if all(site.state in _ENDED for site in sites):
        return msgspec.structs.replace(rollout, state="done"), []
    end = rollout.ends[rollout.stage - 1]
    return rollout, [site.edge for site in sites[:end] if site.state == "waiting"]


def released(rollout: Rollout, edge: str, now_ns: int, failure: tuple[str, str] | None = None) -> Rollout:
    """The revision of this site is stored, or could not be: code and reason."""

    def change(site: RolloutSite) -> RolloutSite:
        if failure is not None:
            return msgspec.structs.replace(site, state="failed", code=failure[0], reason=failure[1])
        return msgspec.structs.replace(site, state="released", released_ns=now_ns)

    sites = tuple(change(site) if site.edge == edge else site for site in rollout.sites)
    return msgspec.structs.replace(rollout, sites=sites)


def halted(rollout: Rollout, state: RolloutState, reason: str) -> Rollout:
    """Stopped or cancelled; one that is over stays as it is."""
    if rollout.state in ("done", "cancelled"):
        return rollout
    return msgspec.structs.replace(rollout, state=state, reason=reason)


def resumed(rollout: Rollout, now_ns: int) -> Rollout:
    """Go on after a stop: what has failed is left as it is, and does not count again."""
    failures = sum(site.state == "failed" for site in rollout.sites)
    sites = tuple(
        msgspec.structs.replace(site, released_ns=now_ns) if site.state == "released" else site
        for site in rollout.sites
    )
    return msgspec.structs.replace(
        rollout, state="running", reason=None, sites=sites, failures_max=max(rollout.failures_max, failures)
    )


def steered(rollout: Rollout, verb: str, who: str, now_ns: int, act: dict[str, Any] | None = None) -> Rollout:
    """What "stop", "cancel" or "resume" makes of it, done by `who` as `act` says; the same where it changes nothing."""
    if verb == "stop":
        changed = halted(rollout, "stopped", f"stopped by {who}")
    elif verb == "cancel":
        changed = halted(rollout, "cancelled", f"cancelled by {who}")
    else:
        changed = resumed(rollout, now_ns) if rollout.state == "stopped" else rollout
    return changed if changed == rollout else msgspec.structs.replace(changed, turn=rollout.turn + 1, by=act)


def shown_rollout(rollout: Rollout) -> dict[str, Any]:
    """How it stands, for the audit."""
    return {
        "state": rollout.state, "stage": rollout.stage, "stages": len(rollout.ends), "sites_count": len(rollout.sites),
        "sites": rollout.counts(), "reason": rollout.reason, "comment": rollout.comment,
    }  # fmt: skip


def _judge(site: RolloutSite, rollout: Rollout, report: Mapping[str, Any] | None, now_ns: int) -> RolloutSite:
    if site.state != "released":
        return site
    if report is not None:
        failure = report.get("failure") or {}
        is_settled = report.get("phase") == "settled"
        if is_settled and report.get("healthy_revision") == site.revision and report.get("digest") == site.digest:
            return msgspec.structs.replace(site, state="healthy", code=None, reason=None)
        if is_settled and failure.get("revision") == site.revision:
            return msgspec.structs.replace(
                site, state="failed", code=str(failure.get("code")), reason=str(failure.get("reason"))
            )
    if now_ns - site.released_ns < rollout.site_timeout_s * 1e9:
        return site
    if report is None and rollout.passes_away:
        return msgspec.structs.replace(site, state="passed", reason="did not answer in time")
    reason = "did not answer in time" if report is None else "is not done in time"
    return msgspec.structs.replace(site, state="failed", code="MS-2431", reason=reason)

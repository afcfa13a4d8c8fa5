"""Which acts the audit does not have, from what they left behind and what was told. Pure.

Of a roll-out its start and its newest act are known, of a module who vouches for it, of contracts each version. Events
of versions before this one do not say which act they tell: those of a roll-out stand for all of its acts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from millstream.protocols.audit import NOT_KNOWN, act_data, contract_name, pushed_name, rollout_name
from millstream.protocols.cloudevents import format_time
from millstream.protocols.contract import Contract
from millstream.protocols.contract_audit import published_told
from millstream.protocols.module import Manifest, shown_module, signer_of
from millstream.protocols.rollout import STEERED, Rollout, shown_rollout

Told = Sequence[Mapping[str, Any]]
"""Data of the events of a kind."""


@dataclass(frozen=True, slots=True)
class Untold:
    """An act that is to be told: what came of it, its data, its name (`audit.rollout_name` and so on)."""

    outcome: str
    data: Mapping[str, Any]
    name: str


def untold_of_rollout(rollout: Rollout, told: Told, since_ns: int) -> list[Untold]:
    """Its start, and the last time that it was steered; not what lies before `since_ns` (UTC)."""
    mine = [each for each in told if each.get("name") == rollout.name]
    turns = {each.get("turn") for each in mine}
    found: list[Untold] = []
    if None in turns:
        return found
    if 0 not in turns and rollout.created_ns >= since_ns:
        sites = tuple(replace(site, state="waiting", code=None, reason=None) for site in rollout.sites)
        begun = replace(rollout, state="running", reason=None, turn=0, by=None, sites=sites)
        found.append(_of_rollout("started", rollout.author, None, begun))
    by = rollout.by or {}
    verb, time_ns = STEERED.get(str(by.get("verb"))), by.get("time_ns")
    if rollout.turn not in turns and verb is not None and isinstance(time_ns, int) and time_ns >= since_ns:
        found.append(_of_rollout(verb, str(by.get("author", "")), NOT_KNOWN, rollout))
    return found


def _of_rollout(outcome: str, who: str, before: Mapping[str, Any] | None, after: Rollout) -> Untold:
    data = act_data(who, "", before, shown_rollout(after), name=after.name, place=after.place, turn=after.turn)
    return Untold(outcome, data, rollout_name(after.name, after.turn))


def untold_of_module(manifests: Sequence[Manifest], told: Told, since_ns: int) -> list[Untold]:
    """Each push of it, by the manifests that stand; not what lies before `since_ns` (UTC)."""
    found = []
    for number, one in enumerate(manifests):
        pushed = format_time(one.time_ns)
        is_told = any(
            each.get("digest") == one.digest and each.get("who") == one.author and each.get("pushed", pushed) == pushed
            for each in told
        )
        if is_told or one.time_ns < since_ns:
            continue
        data = act_data(
            one.author, "", shown_module(manifests[:number]), shown_module(manifests[: number + 1]), digest=one.digest,
            key=signer_of(one) or None, pushed=pushed,
        )  # fmt: skip
        found.append(Untold("pushed", data, pushed_name(one.digest, one.author, one.time_ns)))
    return found


def untold_of_contract(old: Contract | None, new: Contract, by: tuple[str, str], told: Told) -> list[Untold]:
    """That this version was published, behind `old`, by whom and from where."""
    for each in told:
        after = each.get("after")
        if isinstance(after, Mapping) and (each.get("name"), after.get("version")) == (new.name, new.version):
            return []
    data = published_told(old, new, *by)
    return [Untold("put", data, contract_name(new.label, new.published_ns))]

"""A staged roll-out: what reports lead to."""

from __future__ import annotations

from typing import Any

import pytest

from millstream.kernel import ConfigError, DecodeError
from millstream.protocols.rollout import (
    Rollout,
    RolloutSite,
    decode_rollout,
    encode_rollout,
    released,
    resumed,
    stage_ends,
    step,
)

S = 1_000_000_000


def rollout(count: int, ends: tuple[int, ...], **more: Any) -> Rollout:
    sites = tuple(RolloutSite(f"e{n}", 5, f"d{n}", 0) for n in range(1, count + 1))
    return Rollout(name="r", author="ada", created_ns=0, ends=ends, sites=sites, site_timeout_s=10.0, **more)


def well(edge: str) -> dict[str, Any]:
    return {"phase": "settled", "healthy_revision": 5, "digest": f"d{edge[1:]}", "failure": None}


def ill(revision: int = 5) -> dict[str, Any]:
    failure = {"revision": revision, "code": "MS-2408", "reason": "press is waiting"}
    return {"phase": "settled", "healthy_revision": 4, "digest": "old", "failure": failure}


def run(made: Rollout, reports: dict[str, Any], now_s: float = 1) -> tuple[Rollout, list[str]]:
    """One step, with all releases stored."""
    made, edges = step(made, reports, int(now_s * S))
    for edge in edges:
        made = released(made, edge, int(now_s * S))
    return made, edges


def states(made: Rollout) -> list[str]:
    return [site.state for site in made.sites]


@pytest.mark.parametrize(
    ("stages", "count", "ends"),
    [(["all"], 5, (5,)), (["1", "25%", "all"], 8, (1, 2, 8)), (["1", "25%"], 3, (1, 3)), (["10%"], 3, (1, 3)),
     (["50%", "50%"], 4, (2, 4)), (["7"], 3, (3,)), (["2", "1"], 4, (2, 4)), ([" 1 ", "100%"], 4, (1, 4))],
)  # fmt: skip
def test_stages_are_counts_percentages_or_all_and_the_last_reaches_all(
    stages: list[str], count: int, ends: tuple[int, ...]
) -> None:
    assert stage_ends(stages, count) == ends


@pytest.mark.parametrize("stage", ["", "0", "-1", "x", "1.5", "%", "0%", "1e3", "٣", "9999999"])
def test_what_is_no_stage_is_refused(stage: str) -> None:
    with pytest.raises(ConfigError) as caught:
        stage_ends([stage], 10)
    assert caught.value.code == "MS-2430"


def test_a_stage_begins_when_the_one_before_is_healthy() -> None:
    made, edges = run(rollout(4, (1, 3, 4)), {})
    assert (edges, made.stage) == (["e1"], 1)
    made, edges = run(made, {"e1": {**well("e1"), "phase": "watching"}})
    assert edges == []
    made, edges = run(made, {"e1": well("e1")})
    assert (edges, made.stage) == (["e2", "e3"], 2)
    made, edges = run(made, {"e2": well("e2"), "e3": ill(revision=4)})  # it tells of an older one
    assert (edges, states(made)) == ([], ["healthy", "healthy", "released", "waiting"])
    made, edges = run(made, {"e3": well("e3")})
    assert edges == ["e4"]
    made, _ = run(made, {"e4": well("e4")})
    assert (made.state, made.counts()) == ("done", {"healthy": 4})


def test_it_stops_at_a_failure_and_releases_nothing_more() -> None:
    made, _ = run(rollout(3, (1, 3)), {})
    made, edges = run(made, {"e1": ill()})
    assert (made.state, made.reason, edges) == ("stopped", "e1: press is waiting", [])
    assert run(made, {"e1": well("e1")}) == (made, [])
    again = resumed(made, 2 * S)
    again, edges = run(again, {}, 2)
    assert (again.state, edges, states(again)) == ("running", ["e2", "e3"], ["failed", "released", "released"])
    again, _ = run(again, {"e2": ill()}, 3)
    assert again.state == "stopped"


def test_so_many_failures_as_are_allowed_do_not_stop_it() -> None:
    made, _ = run(rollout(3, (3,), failures_max=1), {})
    made, _ = run(made, {"e1": ill(), "e2": well("e2")})
    assert made.state == "running"
    made, _ = run(made, {"e3": well("e3")})
    assert (made.state, made.counts()) == ("done", {"failed": 1, "healthy": 2})


@pytest.mark.parametrize(("passes", "state", "site"), [(False, "stopped", "failed"), (True, "done", "passed")])
def test_a_site_that_stays_away(passes: bool, state: str, site: str) -> None:
    made, _ = run(rollout(1, (1,), passes_away=passes), {}, 1)
    made, _ = run(made, {"e1": None}, 10.9)
    assert made.state == "running"
    made, _ = run(made, {"e1": None}, 11.1)
    assert (made.state, states(made)) == (state, [site])


def test_one_that_answers_and_is_not_done_in_time_has_failed_in_any_case() -> None:
    made, _ = run(rollout(1, (1,), passes_away=True), {}, 1)
    made, _ = run(made, {"e1": {**well("e1"), "phase": "watching"}}, 20)
    assert (made.sites[0].state, made.sites[0].code) == ("failed", "MS-2431")


def test_what_cannot_be_released_has_failed() -> None:
    made, edges = step(rollout(1, (1,)), {}, S)
    made = released(made, edges[0], S, ("MS-2406", "somebody else has changed this site meanwhile"))
    made, _ = step(made, {}, S)
    assert (made.state, made.sites[0].code) == ("stopped", "MS-2406")


def test_it_is_kept_as_it_is() -> None:
    made, _ = run(rollout(3, (1, 3), comment="why"), {})
    assert decode_rollout(encode_rollout(made)) == made
    with pytest.raises(DecodeError, match="MS-2430"):
        decode_rollout(b"{")

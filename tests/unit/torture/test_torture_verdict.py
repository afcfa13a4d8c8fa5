"""A run's verdict: equal for the truth, and for nothing else, whichever sink is harmed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from millstream.sim.producer_ledger import MachineTruth, Part, Truth
from millstream.torture import flows
from millstream.torture._checker import Output
from millstream.torture._links import link_fault
from millstream.torture._plan import Fault
from millstream.torture._reference import reference
from millstream.torture._report import is_passed
from millstream.torture._run import compare_counts, level_of
from millstream.torture._sinks import Samples
from millstream.torture._site import tag
from millstream.torture._verdict import CONTRACTS, Evidence, judge

SECOND = 1_000_000_000
MACHINES = ("m1", "m2")
ADAPTER = "acme/plant1/mazak1:adapter_seq"
COUNT = 40


def evidence() -> Evidence:
    """What a faultless run leaves."""
    truth, hub = Truth(is_final=True), Samples()
    history: dict[str, list[Output]] = {}
    for machine in MACHINES:
        made = [Part(n, 10**18 + n * SECOND // 4, n / 3) for n in range(1, COUNT + 1)]
        truth.machines[machine] = MachineTruth(made, set(range(1, COUNT + 1)), dict.fromkeys(range(1, COUNT + 1), 1))
        hub[("_tag", tag(machine, "barrier"))] = [Output(p.n, p.time_ns) for p in made]
        hub[("_tag", tag(machine, "grams"))] = [Output(p.grams, p.time_ns) for p in made]
        for name in ("barrier", "grams"):
            history[tag(machine, name)] = list(hub[("_tag", tag(machine, name))])
        for name, outputs in reference(machine, truth.machines[machine]).items():
            hub[(CONTRACTS[name], tag(machine, name))] = outputs
            history[tag(machine, name)] = list(outputs)
    hub[("_tag", ADAPTER)] = [Output(n, n) for n in range(1, 6)]
    edge = [{key: outputs[-3:] for key, outputs in hub.items()}]
    return Evidence(truth, MACHINES, edge, hub, history, ADAPTER, 5)


def test_a_faultless_run_is_equal() -> None:
    report = judge(evidence())
    assert report["is_equal"], report["details"]
    assert (report["parts_true"], report["parts_counted"]) == (2 * COUNT, 2 * COUNT)
    assert (report["lost"], report["duplicated"]) == (0, 0)


def test_the_reference_counts_each_part_and_makes_whole_windows() -> None:
    said = reference("m1", evidence().truth.machines["m1"])
    assert said[flows.COUNTED][-1].value == COUNT
    assert said[flows.PARTS][-1].value == COUNT - 1  # a counter's first reading is where it begins
    assert len(said[flows.RATE]) >= 4
    assert all(o.time_ns % (2 * SECOND) == 0 for o in said[flows.RATE])


def test_a_part_that_came_again_changes_no_count() -> None:
    truth = evidence().truth.machines["m1"]
    again = replace(truth, made=[*truth.made[:20], *truth.made[15:20], *truth.made[20:]])
    assert reference("m1", again) == reference("m1", truth)


KEYS = sorted(evidence().hub)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[1].rpartition("/")[2])
@pytest.mark.parametrize("harm", ["lost", "doubled", "changed"])
def test_a_harmed_hub_stream_is_not_equal(key: tuple[str, str], harm: str) -> None:
    found = evidence()
    rows = found.hub[key]
    middle = len(rows) // 2
    found.hub[key] = {
        "lost": rows[:middle] + rows[middle + 1 :],
        "doubled": rows[: middle + 1] + rows[middle:],
        "changed": [*rows[:middle], Output(10**6, rows[middle].time_ns), *rows[middle + 1 :]],
    }[harm]
    report = judge(found)
    assert not report["is_equal"]
    assert report["lost"] + report["duplicated"] > 0


@pytest.mark.parametrize("path", sorted(evidence().history))
def test_a_row_too_few_or_too_many_in_the_history_is_not_equal(path: str) -> None:
    found = evidence()
    rows = found.history[path]
    assert not judge(replace(found, history={**found.history, path: rows[1:]}))["is_equal"]
    assert not judge(replace(found, history={**found.history, path: [*rows, rows[0]]}))["is_equal"]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[1].rpartition("/")[2])
def test_what_the_edge_has_and_the_hub_has_not_is_not_equal(key: tuple[str, str]) -> None:
    if key[1] == ADAPTER:
        return  # judged by its own numbers
    found = evidence()
    found.edge[0][key] = [*found.edge[0][key], Output(7, 7)]
    assert not judge(found)["is_equal"]


def test_an_unmarked_hole_of_the_adapter_is_not_equal_and_a_marked_one_is_counted() -> None:
    found = evidence()
    found.hub[("_tag", ADAPTER)] = [Output(1, 1), Output(5, 5)]
    assert not judge(found)["is_equal"]
    found.hub[("_tag", ADAPTER)] = [Output(1, 1), Output(None, 2), Output(5, 5)]
    assert judge(found)["is_equal"]
    assert judge(found)["lines_lost_at_source"] == 3


def test_of_a_corrected_window_the_history_has_the_newest_value() -> None:
    found = evidence()
    path, key = tag("m1", flows.RATE), ("_kpi", tag("m1", flows.RATE))
    first = found.hub[key][0]
    truth = found.truth.machines["m1"]
    late = replace(truth, made=[*truth.made, Part(COUNT + 1, truth.made[0].time_ns, 1.0)], acked=truth.acked)
    corrected = reference("m1", late)[flows.RATE]
    assert [o.time_ns for o in corrected].count(first.time_ns) == 2
    found.truth.machines["m1"] = late
    found.hub[key] = corrected
    found.history[path] = corrected[1:]
    assert not any(d["where"] == f"historian {path}" for d in judge(found)["details"])
    found.history[path] = corrected
    assert any(d["where"] == f"historian {path}" for d in judge(found)["details"])


def test_a_run_without_parts_proves_nothing() -> None:
    nothing = Evidence(Truth(), MACHINES, [{}], {}, {}, ADAPTER, 0)
    assert not judge(nothing)["is_equal"]


def test_a_report_passes_only_when_all_its_halves_do() -> None:
    power = {"power_cuts": 3, "lost": 0, "duplicated": 0, "parts_true": 9, "is_control_failing": True}
    assert is_passed(power)
    assert is_passed({"is_equal": True, "power": power})
    assert not is_passed({"is_equal": True, "power": {**power, "lost": 1}})
    assert not is_passed({"is_equal": False, "power": power})
    assert not is_passed({"is_equal": True, "power": {**power, "is_equal": False}})
    assert not is_passed({**power, "is_control_failing": False})
    assert not is_passed({})


def test_the_plain_service_is_compared_by_its_bare_count() -> None:
    truth = evidence().truth
    assert compare_counts(truth, 70)["lost"] == 10
    assert compare_counts(truth, 90)["duplicated"] == 10


def test_faults_of_one_link_add_up() -> None:
    both = link_fault([Fault("delay", 0, 1, "uplink", 0.2), Fault("delay", 0, 1, "uplink", 0.3)])
    assert both.delay_s == pytest.approx(0.5)
    slow = link_fault([Fault("throttle", 0, 1, "uplink", 5000), Fault("throttle", 0, 1, "uplink", 800)])
    assert slow.bytes_per_s == 800
    assert link_fault([Fault("cut", 0, 1, "uplink"), Fault("blackhole", 0, 1, "uplink")]).is_cut
    assert link_fault([]) == link_fault([])


def statuses() -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two nodes at rest."""
    edge = {
        "connectors": [{"state": "connected", "units_unanswered": 0}, {"state": "ended", "units_unanswered": 0}],
        "streams": [{"name": "E_plant1_I", "last_seq": 7}],
        "uplink": {"behind_messages": 0},
    }
    hub = {
        "streams": [{"name": "H_INTEGRITY", "last_seq": 9}],
        "historian": {"streams": [{"stream": "H_INTEGRITY", "position": 9}]},
    }
    return edge, hub


def test_a_site_is_at_rest_when_nothing_is_under_way() -> None:
    assert level_of(*statuses()) == (7, 9)


@pytest.mark.parametrize("state", ["new", "opening", "waiting"])
def test_a_connector_that_is_not_at_work_yet_may_still_say_something(state: str) -> None:
    edge, hub = statuses()
    edge["connectors"][1]["state"] = state
    assert level_of(edge, hub) is None


def test_units_links_and_rows_that_are_under_way_are_no_rest() -> None:
    edge, hub = statuses()
    edge["connectors"][0]["units_unanswered"] = 1
    assert level_of(edge, hub) is None
    edge, hub = statuses()
    edge["uplink"]["behind_messages"] = 1
    assert level_of(edge, hub) is None
    edge, hub = statuses()
    hub["historian"]["streams"][0]["position"] = 8
    assert level_of(edge, hub) is None

"""Flows that feed each other in a circle are told by name; whatever is no circle is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.config import load_edge, load_hub, load_up
from millstream.flow.library import FLOW_TYPES

COUNT_ON = """
from millstream.flow import Emit, Flow, Input


def tell(event):
    return Emit(f"{event.key}:parts", 1, event.time_ns, kind="state")


def step(state, event):
    return state, [tell(event), Emit("acme/else:unknown", 1, event.time_ns)]


def other(state, event):
    return state, [Emit(f"{event.key}:barrier", 1, event.time_ns, kind="tag")]


flow = Flow(name="on", inputs=(Input("acme/**:parts", kind="count"),), step=step, initial=int, state_type=int,
            outputs=("state", "count"))
back = Flow("back", (), other, int, int)
barrier = Flow(name="barrier", inputs=(Input("acme/**:parts", "state"),), step=other, initial=int, state_type=int,
               outputs=("tag",))
"""
COUNTER = "{name: parts, type: part_counter, inputs: ['acme/**:barrier']}"
ON = "{name: 'on', python: 'mine.py:flow'}"


def problems(tmp_path: Path, *flows: str) -> list[tuple[str, str, str]]:
    (tmp_path / "mine.py").write_text(COUNT_ON, encoding="utf-8")
    path = tmp_path / "edge.yaml"
    text = "edge: {name: e1, path: acme/p1, data_dir: d}\nflows:\n" + "".join(f"  - {flow}\n" for flow in flows)
    path.write_text(text, encoding="utf-8")
    _, findings = load_edge(path, {}, FLOW_TYPES)
    return [(f.path, f.code, f.message) for f in findings]


def derived(name: str, reads: str, expression: str, output: str, place: str = "acme/p1") -> str:
    return (
        f"{{name: {name}, type: derived_tag, inputs: ['{place}:{reads}'], "
        f"config: {{names: {{x: {reads}}}, expression: '{expression}', output: {output}}}}}"
    )


def test_two_flows_that_feed_each_other_are_told_with_what_goes_round(tmp_path: Path) -> None:
    [(path, code, message)] = problems(
        tmp_path, COUNTER, derived("there", "a", "x + 1", "b"), derived("back", "b", "x - 1", "a")
    )
    assert (path, code) == ("flows[1].inputs", "MS-0708")
    assert "there -> back -> there" in message
    assert "there says acme/p1:b (tag), which back reads; back says acme/p1:a (tag), which there reads" in message


def test_a_circle_over_three_flows_is_told_once_and_a_second_one_too(tmp_path: Path) -> None:
    found = problems(
        tmp_path, derived("one", "a", "x", "b"), derived("two", "b", "x", "c"), derived("three", "c", "x", "a"),
        derived("four", "k", "x", "l"), derived("five", "l", "x", "k"),
    )  # fmt: skip
    assert [path for path, _, _ in found] == ["flows[0].inputs", "flows[3].inputs"]
    assert "one -> two -> three -> one" in found[0][2]
    assert "four -> five -> four" in found[1][2]


def test_a_flow_in_a_file_of_its_own_closes_a_circle(tmp_path: Path) -> None:
    barrier = "{name: barrier, python: 'mine.py:barrier'}"
    [(_, _, message)] = problems(tmp_path, COUNTER, ON, barrier)
    assert "parts -> on -> barrier -> parts" in message
    assert "barrier says acme/**:barrier (tag), which parts reads" in message


@pytest.mark.parametrize(
    "flows",
    [
        (COUNTER, ON),
        # Another place, another kind, another name: none of them comes round.
        (derived("there", "a", "x", "b"), derived("back", "b", "x", "a", "acme/p2")),
        (derived("there", "a", "x", "b"), "{name: r, type: rate, inputs: [{pattern: 'acme/p1:b', kind: count}],"
         " config: {output: a}}"),
        (derived("there", "a", "x", "b"), derived("on", "b", "x", "c"), derived("off", "b", "x", "d")),
        # What is passed on keeps its kind: the count that comes out is not the tag that goes in.
        ("{name: d, type: deadband, inputs: ['acme/p1:a', {pattern: 'acme/p1:b', kind: count}],"
         " config: {absolute: 1, output: c}}",
         "{name: e, type: deadband, inputs: [{pattern: 'acme/p1:c', kind: tag}], config: {absolute: 1, output: b}}"),
        # Of many inputs a derived tag takes only those that it names.
        ("{name: there, type: derived_tag, inputs: ['acme/p1:a*'], config: {names: {x: a1}, expression: x, output: b}}",
         "{name: back, type: derived_tag, inputs: ['acme/p1:b'], config: {names: {x: b}, expression: x, output: a2}}"),
        # A key of its own: where it says something is not known.
        (COUNTER, ON, "{name: k, python: 'mine.py:back', inputs: [{pattern: 'acme/**:parts', kind: state}]}"),
    ],
)  # fmt: skip
def test_what_is_no_circle_is_not_refused(tmp_path: Path, flows: tuple[str, ...]) -> None:
    assert problems(tmp_path, *flows) == []


@pytest.mark.parametrize(
    ("output", "reads", "is_circle"),
    [
        ("{name}/flat", "a/*/flat", True),
        ("{name}/flat", "**/flat", True),
        ("{name}_flat", "a/*_flat", True),
        ("flat_{name}", "flat_*/b", True),
        ("{name}_flat", "a/*_round", False),
        ("{name}/flat", "a/flat", False),
    ],
)
def test_names_made_of_names_are_followed(tmp_path: Path, output: str, reads: str, is_circle: bool) -> None:
    config = f"{{absolute: 1, output: '{output}'}}"
    found = problems(
        tmp_path, f"{{name: flat, type: deadband, inputs: ['acme/**:a/*'], config: {config}}}",
        f"{{name: back, type: deadband, inputs: ['acme/**:{reads}'], config: {{absolute: 1, output: a/b}}}}",
    )  # fmt: skip
    circles = [message for _, code, message in found if code == "MS-0708"]
    assert len(circles) == is_circle, found


def test_hubs_and_single_machines_are_checked_too(tmp_path: Path) -> None:
    flows = f"  - {derived('there', 'a', 'x', 'b')}\n  - {derived('back', 'b', 'x', 'a')}\n"
    hub = tmp_path / "hub.yaml"
    hub.write_text(f"hub: {{name: h, data_dir: d}}\nflows:\n{flows}", encoding="utf-8")
    config, findings = load_hub(hub, FLOW_TYPES)
    assert (config, [f.code for f in findings]) == (None, ["MS-0708"])
    one = tmp_path / "up.yaml"
    one.write_text(
        "edge: {name: e1, path: acme/p1, data_dir: d}\nhub: {name: h, data_dir: h}\n"
        f"hub_flows:\n{flows}", encoding="utf-8",
    )  # fmt: skip
    up, findings = load_up(one, {}, FLOW_TYPES)
    assert (up, [(f.path, f.code) for f in findings]) == (None, [("hub_flows[0].inputs", "MS-0708")])


def test_places_that_are_added_up_feed_neither_their_machines_nor_each_other(tmp_path: Path) -> None:
    oee = (
        "{name: oee, type: oee, inputs: [{pattern: 'acme/p1/**:state', kind: state}], "
        "config: {names: {state: state}, explain: 5s}}"
    )
    reads = "inputs: [{pattern: 'acme/p1/**:oee/*', kind: event}]"
    places = [
        f"{{name: {name}, type: oee_total, {reads}, config: {{levels: {to}}}}}"
        for name, to in (("lines", "[4, 3]"), ("site", "[2]"))
    ]
    assert problems(tmp_path, oee, *places) == []

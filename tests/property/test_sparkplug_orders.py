"""The host application over any order of messages, and over any messages at all.

Runs: 300 orders within the reorder window, 300 histories of odd messages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "sparkplug"))

from sparkplug_node import T0, PaperNode, Plant, data, metric, of, values

from millstream.protocols.sparkplug_host_model import MetricUpdate, Missing, Presence, RebirthRequest


@settings(max_examples=300)
@given(st.permutations(range(40)), st.integers(0, 255))
def test_any_order_within_the_window_gives_every_value_in_its_order(order: list[int], first: int) -> None:
    plant, node = Plant(reorder_timeout_ms=1_000), PaperNode()
    plant.take(node.nbirth(metric("a", -1, alias=1)))
    for i in range(first):
        plant.take(node.send("NDATA", data(1, i)))
    sent = [node.send("NDATA", data(1, i)) for i in range(len(order))]
    events = [event for i in order for event in plant.take(sent[i], after_ms=1)]
    assert [e.value for e in of(events, MetricUpdate)] == list(range(len(order)))
    assert not of(events, Missing)
    assert not of(events, RebirthRequest)
    assert plant.host.due_ms() is None


@settings(max_examples=300)
@given(st.sets(st.integers(0, 99), max_size=30))
def test_what_is_left_out_is_counted(lost: set[int]) -> None:
    plant, node = Plant(reorder_timeout_ms=1_000), PaperNode()
    plant.take(node.nbirth(metric("a", -1, alias=1)))
    events: list[Any] = []
    for i in range(101):  # the last one comes, so that what is missing before it shows
        message = node.send("NDATA", data(1, i))
        if i not in lost:
            events += plant.take(message)
    events += plant.wait(2_000)
    assert [e.value for e in of(events, MetricUpdate)] == [i for i in range(101) if i not in lost]
    assert sum(e.count for e in of(events, Missing)) == len(lost)


KINDS = ["NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "NDATA", "DDATA"]
STEPS = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(["n", "m"]),
    st.sampled_from(["d", "e"]),
    st.lists(st.tuples(st.sampled_from(["a", "b/a", None]), st.integers(0, 3)), max_size=3),
    st.none() | st.integers(0, 300),
    st.integers(0, 20_000),
    st.none() | st.binary(max_size=4),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=60))
def test_no_history_confuses_the_host(steps: list[Any]) -> None:
    plant = Plant()
    nodes = {name: PaperNode(name) for name in ("n", "m")}
    online: dict[tuple[str, str | None], bool] = {}
    live: set[str] = set()
    for kind, name, device, metrics, seq, after_ms, spoil in steps:
        found = [metric(n, i, alias=i) if n else data(i, i) for n, i in metrics]
        if kind == "NBIRTH" and seq is not None:
            nodes[name].bd_seq = seq % 3
        where = device if kind[0] == "D" else None
        more = {} if seq is None or seq < 200 else {"seq": seq}
        message = (
            nodes[name].nbirth(*found)
            if kind == "NBIRTH"
            else nodes[name].ndeath(None if seq is None else seq % 3)
            if kind == "NDEATH"
            else nodes[name].send(kind, *found, device=where, **more)
        )
        if spoil is not None:
            message = (message[0], message[1][: len(message[1]) // 2] + spoil)
        events = plant.wait(after_ms) + plant.take(message)
        for event in events:
            if isinstance(event, Presence):  # each one tells of a change, but for births that come again
                before = online.get((event.node, event.device), False)
                assert event.is_online or before
                online[event.node, event.device] = event.is_online
        for address, value in values(events).items():
            (live.discard if value in ("BadNoCommunication", "BadNodeIdUnknown") else live.add)(address)
    for (name, where), is_online in online.items():
        assert plant.host.is_online("g", name, where) is is_online
    assert not {each for each in live if not online[_place(each)]}  # nothing of what is gone looks alive
    assert plant.now_ms >= T0


def _place(address: str) -> tuple[str, str | None]:
    levels = address.partition("#")[0].split("/")
    return levels[1], levels[2] if len(levels) == 3 else None

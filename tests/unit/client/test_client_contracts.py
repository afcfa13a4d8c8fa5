"""Who reads what a contract is about."""

from __future__ import annotations

from millstream.client._contracts import Consumer, consumers_of
from millstream.protocols.contract import Contract

PRESS = Contract("press", "tag", ("acme/*/press*:temperature",))


def flow(name: str, *inputs: dict[str, str]) -> dict[str, object]:
    return {"name": name, "version": 2, "inputs": list(inputs)}


def test_flows_are_consumers_by_path_and_kind_and_one_with_inputs_in_its_code_may_be() -> None:
    nodes = [
        {"name": "hub", "flows": [flow("all", {"pattern": "**:*", "kind": "tag"})]},
        {
            "name": "e1",
            "flows": [
                flow("exact", {"pattern": "acme/plant1/press7:temperature"}),
                flow("states", {"pattern": "**:**", "kind": "state"}),
                flow("elsewhere", {"pattern": "acme/plant1/mill:temperature", "kind": "tag"}),
                flow("code"),
                flow("odd", {"pattern": "::"}),
            ],
        },
        {"name": "old"},
    ]
    assert consumers_of([PRESS], nodes) == [
        Consumer("hub", "all", 2, "**:*"),
        Consumer("e1", "exact", 2, "acme/plant1/press7:temperature"),
        Consumer("e1", "code", 2, None),
    ]

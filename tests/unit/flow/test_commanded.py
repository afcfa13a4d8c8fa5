"""Commands that a flow declares, as inputs of it: whose state they get, and what a failure leaves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from millstream.flow import Call, Event, Flow, FlowCommand, Input, commanded, key_of_asset, key_of_tag, told_of
from millstream.kernel import ConfigError
from millstream.model import TagPath
from millstream.protocols.flow_command import answer_subject, ask_path
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import UnsAddress


class Sum(msgspec.Struct):
    total: int = 0


class Kept:
    """Pieces of a state."""

    def __init__(self) -> None:
        self.all: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        return self.all.get(name)

    def put(self, name: str, piece: Any) -> None:
        self.all[name] = piece


def add(state: Sum, call: Call) -> tuple[Sum, list[Any], Any]:
    """Changes all in place, then fails for what is odd."""
    state.total += call.args["by"]
    if call.pieces is not None:
        call.pieces.put("last", call.args["by"])
        assert call.pieces.get("last") == call.args["by"]
    if call.args["by"] < 0:
        raise ConfigError("not less")
    return state, [], object() if call.args["by"] == 7 else state.total


def flow_of(**more: Any) -> Flow[Sum]:
    fields: dict[str, Any] = {
        "name": "sums", "inputs": (Input("acme/*/press:**"),), "step": lambda state, event: (state, []),
        "initial": Sum, "state_type": Sum, "commands": (FlowCommand("add", "Add.", add),), **more,
    }  # fmt: skip
    return Flow(**fields)


def ask(flow: Flow[Sum], by: int, state: Sum, pieces: Any = None) -> tuple[Sum | None, dict[str, Any]]:
    """What becomes of the state, and the answer."""
    source = ask_path("acme/e1/press", "sums", "add")
    data = {"id": f"c{by}", "who": "ada", "args": {"by": by}}
    after, effects = flow.step(state, Event("acme/e1/press", "cmd", 5, data, source=source, pieces=pieces))
    (answer,) = effects
    path = TagPath.parse(answer.path)  # type: ignore[union-attr]
    assert UnsAddress(path.asset, "_event", path.names) is not None
    assert answer_subject(source).endswith("_event.command.sums.add.answer")
    return after, answer.data  # type: ignore[union-attr]


def test_what_works_is_answered_and_what_fails_leaves_nothing() -> None:
    flow, state, pieces = commanded(flow_of()), Sum(1), Kept()
    assert ask(flow, 2, state, pieces) == (Sum(3), {"id": "c2", "state": "done", "result": 3})
    assert pieces.all == {"last": 2}
    after, said = ask(flow, -1, Sum(3), pieces)
    assert (after, said["state"], said["reason"]) == (Sum(3), "failed", "not less")
    after, said = ask(flow, 7, Sum(3), pieces)
    assert (after, said["state"], said["code"]) == (Sum(3), "failed", "MS-2305")
    assert pieces.all == {"last": 2}, "pieces of a failure do not count"
    assert ask(flow, 1, Sum(3))[0] == Sum(4)


@pytest.mark.parametrize(("key", "asset", "tag"), [
    (key_of_asset, "acme/e1/press", "acme/e1/press"), (key_of_tag, None, "acme/e1/press:speed")
])  # fmt: skip
def test_a_command_gets_the_state_of_the_path_that_it_names(key: Any, asset: str | None, tag: str) -> None:
    flow = commanded(flow_of(key=key))
    for path, wanted in (("acme/e1/press", asset), ("acme/e1/press:speed", tag)):
        found = TagPath.parse(ask_path(path, "sums", "add"))
        assert any(Pattern.parse(one.pattern).fits_path(str(found)) for one in flow.inputs if one.kind == "cmd")
        if wanted is not None:
            assert flow.key(UnsAddress(found.asset, "_cmd", found.names)) == wanted
    own = TagPath.parse("acme/e1/press:command/sums/add")
    assert key_of_tag(UnsAddress(own.asset, "_tag", own.names)) == "acme/e1/press:command/sums/add"


def test_what_it_reads_beside_its_inputs_is_as_narrow_as_these() -> None:
    flow = commanded(flow_of(inputs=(Input("acme/e1/press:speed"),)))
    assert flow.filters() == [
        "uns.v1.acme.e1.press._tag.speed", "uns.v1.acme.e1.press._cmd.command.sums.*",
        "uns.v1.acme.e1.press._cmd.speed.command.sums.*",
    ]  # fmt: skip
    (told,) = told_of(flow)
    assert told["schema"]["required"] == ["path"]
    assert told["patterns"] == ["acme/e1/press:command/sums/*", "acme/e1/press:speed/command/sums/*"]
    plain = flow_of(commands=())
    assert commanded(plain) is plain


@pytest.mark.parametrize("odd", [
    {"name": "Sums"}, {"name": "my-sums"}, {"regroup": lambda event: "x"},
])  # fmt: skip
def test_a_flow_that_cannot_have_commands_says_so(odd: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a flow with commands"):
        flow_of(**odd)


@pytest.mark.parametrize("odd", [
    {"name": "Add"}, {"schema": {"type": "array"}}, {"schema": {"type": "object", "properties": {"path": {}}}},
    {"schema": {"type": "object", "minimum": "x"}}, {"time_limit_s": 0.0}, {"time_limit_s": 1e9},
])  # fmt: skip
def test_a_command_that_nobody_could_send_is_refused(odd: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"name": "add", "description": "Add.", "run": add, **odd}
    with pytest.raises(ConfigError):
        FlowCommand(**fields)

"""Commands that a flow declares, as inputs of that flow.

What is asked is an event of the kind `cmd` below the path that it is for, ``acme/press:command/<flow>/<name>``, stored
with the command's beginning in the edge's journal. The flow takes it in its turn, with the state of the key that the
path leads to; what it does and its answer are one commit. So it has its effect once, also when anything is killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from millstream.flow._model import Call, Effect, EmitEvent, Event, Flow, FlowCommand, Input, Pieces, S
from millstream.kernel import PlantError
from millstream.protocols.flow_command import ANSWER, ASK_KIND, MARK, ask_suffix, read_ask
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import UnsAddress

REASON_CHARS_MAX = 400
FAILED = "MS-2305"


def commanded(flow: Flow[S]) -> Flow[S]:
    """The flow, and its commands as inputs of it. One without commands is as it was."""
    if not flow.commands:
        return flow
    asked = tuple(Input(pattern, ASK_KIND) for pattern in ask_patterns(flow))
    outputs = flow.outputs if "event" in flow.outputs else (*flow.outputs, "event")
    return replace(
        flow, inputs=(*flow.inputs, *asked), outputs=outputs, step=partial(_step, flow),
        key=partial(_key, flow.key, len(ask_suffix(flow.name, ""))),
    )  # fmt: skip


def ask_patterns(flow: Flow[Any]) -> list[str]:
    """Where commands to a flow are stored: below the equipment and below the tags that its inputs name."""
    found: list[str] = []
    for one in flow.inputs:
        if one.kind == ASK_KIND and f"{MARK}/{flow.name}/" in one.pattern:
            continue
        pattern = Pattern.parse(one.pattern)
        asset, names, tail = "/".join(pattern.asset), "/".join(pattern.names), "/".join(ask_suffix(flow.name, "*"))
        found += [f"{asset}:{tail}", f"{asset}:{names}/{tail}"]
    return list(dict.fromkeys(found))


def told_of(flow: Flow[Any]) -> list[dict[str, Any]]:
    """The commands of a flow, for the node that offers them."""
    return [
        {
            "name": each.name, "description": each.description, "schema": full_schema(each.schema),
            "time_limit_s": each.time_limit_s, "patterns": ask_patterns(flow),
        }
        for each in flow.commands
    ]  # fmt: skip


def full_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """With the path, which every command of a flow takes."""
    path = {"type": "string", "minLength": 1, "maxLength": 512}
    return {
        **schema, "required": ["path", *schema.get("required", ())],
        "properties": {"path": path, **schema.get("properties", {})},
    }  # fmt: skip


def _key(own: Callable[[UnsAddress], str], length: int, address: UnsAddress) -> str:
    """That of the path that a command names."""
    if address.contract == f"_{ASK_KIND}" and address.names[-length:][:1] == (MARK,):
        address = UnsAddress(address.asset, address.contract, address.names[:-length])
    return own(address)


def _step(flow: Flow[S], state: S, event: Event) -> tuple[S | None, Sequence[Effect]]:
    if event.kind == ASK_KIND:
        path, command = _asked(flow, event.source)
        if command is not None:
            return _run(flow, command, state, event, path)
    return flow.step(state, event)


def _asked(flow: Flow[S], source: str) -> tuple[str, FlowCommand[S] | None]:
    """The path that a command is for, and the command; None when the event is something else."""
    for each in flow.commands:
        tail = "/".join(ask_suffix(flow.name, each.name))
        if source.endswith((f":{tail}", f"/{tail}")):
            return source[: -len(tail) - 1], each
    return "", None


def _run(
    flow: Flow[S], command: FlowCommand[S], state: S, event: Event, path: str
) -> tuple[S | None, Sequence[Effect]]:
    """What the flow's code does, and the answer: in one commit. What it raises has no effect, and is the answer."""
    ask = read_ask(event.value)
    pieces = None if event.pieces is None else _HeldBack(event.pieces)
    call = Call(ask.id, ask.who, ask.args, event.key, path, event.time_ns, pieces)
    data: dict[str, Any] = {"id": ask.id, "state": "done"}
    before = msgspec.msgpack.encode(state)
    try:
        after, effects, result = command.run(state, call)
        msgspec.json.encode(result)
    except MemoryError:
        raise
    except PlantError as error:
        answer = _failed(event, ask.id, error.code, str(error).removesuffix(f" [{error.code}]"))
        return msgspec.msgpack.decode(before, type=flow.state_type), [answer]
    except Exception as error:  # noqa: BLE001 - the user's code; what it raises is told to who asked
        answer = _failed(event, ask.id, FAILED, f"its code failed: {type(error).__name__}: {error}")
        return msgspec.msgpack.decode(before, type=flow.state_type), [answer]
    if pieces is not None:
        pieces.put_all()
    if result is not None:
        data["result"] = result
    return after, [*effects, _answer(event, data)]


def _failed(event: Event, id: str, code: str, reason: str) -> Effect:
    return _answer(event, {"id": id, "state": "failed", "code": code, "reason": reason[:REASON_CHARS_MAX]})


def _answer(event: Event, data: dict[str, Any]) -> Effect:
    return EmitEvent(f"{event.source}/{ANSWER}", "millstream.flow.answered", data, event.time_ns)


class _HeldBack:
    """Pieces of a state whose changes count once the command has worked."""

    def __init__(self, own: Pieces) -> None:
        self._own = own
        self._changed: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """See `Pieces`."""
        return self._changed[name] if name in self._changed else self._own.get(name)

    def put(self, name: str, piece: Any) -> None:
        """See `Pieces`."""
        self._changed[name] = piece

    def put_all(self) -> None:
        """It has worked."""
        for name, piece in self._changed.items():
            self._own.put(name, piece)

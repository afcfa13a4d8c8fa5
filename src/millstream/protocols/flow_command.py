"""What an edge asks of a flow, and what the flow answers, as events of the namespace. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.cloudevents import CloudEvent
from millstream.protocols.uns_subject import tag_subject

ASK_KIND, ASK_TYPE = "cmd", "millstream.flow.asked"
MARK, ANSWER = "command", "answer"


class FlowAsk(msgspec.Struct, frozen=True):
    """The command `id`, as `who` sent it."""

    id: str
    who: str
    args: dict[str, Any] = {}


class FlowAnswer(msgspec.Struct, frozen=True):
    """How it went. `result` is JSON."""

    id: str
    state: Literal["done", "failed"]
    code: str | None = None
    reason: str | None = None
    result: Any = None


def ask_suffix(flow: str, command: str) -> tuple[str, str, str]:
    """What stands behind the path that a command is for."""
    return MARK, flow, command


def ask_path(path: str, flow: str, command: str) -> str:
    """Where it is stored. `path` is that of equipment or of a tag. Raises DecodeError."""
    tail = "/".join(ask_suffix(flow, command))
    return str(TagPath.parse(f"{path}/{tail}" if ":" in path else f"{path}:{tail}"))


def ask_event(path: str, ask: FlowAsk, time_ns: int) -> tuple[str, CloudEvent]:
    """Subject and event of what is asked; `path` is that of `ask_path`."""
    event = CloudEvent(ask.id, "/commands", ASK_TYPE, msgspec.to_builtins(ask), time_ns, path)
    return tag_subject(TagPath.parse(path), f"_{ASK_KIND}"), event


def answer_subject(path: str) -> str:
    """Where the flow answers what is asked at `path`."""
    return tag_subject(TagPath.parse(f"{path}/{ANSWER}"), "_event")


def read_ask(data: Any) -> FlowAsk:
    """From the data of an event. Raises DecodeError."""
    try:
        return msgspec.convert(data, FlowAsk)
    except msgspec.ValidationError as error:
        raise DecodeError("this is no command to a flow", got=str(error)[:120], code="MS-2300") from error


def read_answer(data: Any) -> FlowAnswer | None:
    """From the data of an event; None for what is no answer."""
    try:
        return msgspec.convert(data, FlowAnswer)
    except msgspec.ValidationError:
        return None

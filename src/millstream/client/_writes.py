"""Writing to machines through the edges that can be seen from here."""

from __future__ import annotations

import asyncio
import getpass
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from millstream.bus._link import Link
from millstream.client._acts import Acts
from millstream.client._flows import ask_node
from millstream.client._reading import Reading
from millstream.kernel import NotFoundError, PlantError, Unreachable, suggest
from millstream.model import TagPath, Value
from millstream.protocols.audit import NOT_KNOWN, act_data
from millstream.protocols.cloudevents import format_time
from millstream.protocols.write_request import WritableTag, WriteAnswer, WriteRequest, encode_write

TELL_S_MAX = 1.0  # a write waits no longer for the audit
BEFORE_S_MAX = 0.1  # nor for the value before, once it is known that the tag may be written: both are asked for at once
ANSWER_SLACK_S = 15.0  # for the machine's answer and its read-back, behind the expiry

Last = Callable[[str], Awaitable[Reading | None]]


class NotWritten(PlantError):
    """The edge refused the write, the machine did not take it, or nobody knows. `answer` tells which."""

    default_code = "MS-2005"

    def __init__(self, answer: WriteAnswer, tag: str) -> None:
        words = {
            "refused": "not written, nothing was sent to the machine",
            "failed": "the machine did not take the write",
            "unknown": "it is not known whether the machine took the write",
        }
        super().__init__(words[answer.state], where=tag, got=answer.reason, code=answer.code)
        self.answer = answer


async def writable_tags(link: Link, subjects: Sequence[str]) -> dict[str, list[WritableTag]]:
    """By edge, the tags that it lets be written. An edge that does not answer is left out."""
    found: dict[str, list[WritableTag]] = {}
    for subject in subjects:
        try:
            answer = await ask_node(link, subject, b"")
        except Unreachable:
            continue
        found[subject.split(".")[2]] = msgspec.convert(answer.get("writable", []), list[WritableTag])
    return found


async def write_tag(
    link: Link, subjects: Sequence[str], tag: str, value: Value | None, times_ns: tuple[int, int],
    told: tuple[Acts, Last], *, id: str | None, who: str | None,
) -> WriteAnswer:  # fmt: skip
    """One write, carried out when this returns. `times_ns`: now, and how long it is valid; `told`: the audit, and what
    gives the last reading of the tag. Raises NotWritten, NotFoundError, Unreachable."""
    now_ns, valid_ns = times_ns
    acts, last = told
    before = asyncio.ensure_future(_before(tag, acts, last))
    try:
        tags = await writable_tags(link, subjects)
        await asyncio.wait([before], timeout=BEFORE_S_MAX)
        value_before = before.result() if before.done() else NOT_KNOWN
    finally:
        before.cancel()
    nodes = [node for node, listed in tags.items() if any(item.tag == tag for item in listed)]
    if not nodes:
        every = [item.tag for listed in tags.values() for item in listed]
        raise NotFoundError(
            "no edge that can be seen from here lets this tag be written", got=tag,
            next_step=suggest(tag, every) or "`millstream write --list` shows what may be written", code="MS-2001",
        )  # fmt: skip
    request = WriteRequest(id or str(uuid.uuid4()), tag, value, now_ns + valid_ns, who or me())
    await _tell(request, acts, value_before)
    timeout_s = valid_ns / 1e9 + ANSWER_SLACK_S
    raw = await ask_node(link, f"millstream.node.{nodes[0]}.write", encode_write(request), timeout_s=timeout_s)
    answer: WriteAnswer = msgspec.convert(dict(raw), WriteAnswer)
    if answer.state != "done":
        raise NotWritten(answer, tag)
    return answer


async def _before(tag: str, acts: Acts, last: Last) -> Mapping[str, Any] | None:
    """The value that is there, for the audit; None for a tag without one, and where nothing is told."""
    if not acts.is_told:
        return None
    with suppress(PlantError):
        found = await last(tag)
        return {"value": found.value, "time": format_time(found.time_ns)} if found is not None else None
    return NOT_KNOWN


async def _tell(request: WriteRequest, acts: Acts, before: Mapping[str, Any] | None) -> None:
    """That it is asked for, from here: the edge tells the same again, and what comes of it, but not from where. A
    stream that takes nothing now stops no write."""
    if not acts.is_told:
        return
    with suppress(PlantError, TimeoutError):
        async with asyncio.timeout(TELL_S_MAX):
            told = act_data(
                request.who, acts.origin, before, {"value": request.value}, path=request.tag, id=request.id
            )  # fmt: skip
            await acts.asked("write", told, place=str(TagPath.parse(request.tag).asset), id=request.id)


def me() -> str:
    """Who asks when nobody says: user and host."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a process without an entry in the user database
        name = "unknown"
    return f"{name}@{socket.gethostname()}"[:128]

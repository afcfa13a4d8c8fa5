"""Writing to machines through the edges that can be seen from here."""

from __future__ import annotations

import getpass
import socket
import uuid
from collections.abc import Sequence

import msgspec

from millstream.bus._link import Link
from millstream.client._flows import ask_node
from millstream.kernel import NotFoundError, PlantError, Unreachable, suggest
from millstream.model import Value
from millstream.protocols.write_request import WritableTag, WriteAnswer, WriteRequest, encode_write

ANSWER_SLACK_S = 15.0  # for the machine's answer and its read-back, behind the expiry


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
    link: Link, subjects: Sequence[str], tag: str, value: Value | None, *, now_ns: int, valid_ns: int, id: str | None,
    who: str | None,
) -> WriteAnswer:  # fmt: skip
    """One write, carried out when this returns. Raises NotWritten, NotFoundError, Unreachable."""
    tags = await writable_tags(link, subjects)
    nodes = [node for node, listed in tags.items() if any(item.tag == tag for item in listed)]
    if not nodes:
        every = [item.tag for listed in tags.values() for item in listed]
        raise NotFoundError(
            "no edge that can be seen from here lets this tag be written", got=tag,
            next_step=suggest(tag, every) or "`millstream write --list` shows what may be written", code="MS-2001",
        )  # fmt: skip
    request = WriteRequest(id or str(uuid.uuid4()), tag, value, now_ns + valid_ns, who or me())
    timeout_s = valid_ns / 1e9 + ANSWER_SLACK_S
    raw = await ask_node(link, f"millstream.node.{nodes[0]}.write", encode_write(request), timeout_s=timeout_s)
    answer: WriteAnswer = msgspec.convert(dict(raw), WriteAnswer)
    if answer.state != "done":
        raise NotWritten(answer, tag)
    return answer


def me() -> str:
    """Who asks when nobody says: user and host."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a process without an entry in the user database
        name = "unknown"
    return f"{name}@{socket.gethostname()}"[:128]

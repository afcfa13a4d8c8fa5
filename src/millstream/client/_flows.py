"""The flows of the nodes that can be seen from here, and what may be asked of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.bus._link import Link
from millstream.kernel import NotFoundError, PlantError, Unreachable

ANSWER_TIMEOUT_S = 30.0
NOT_FOUND_CODES = {NotFoundError.default_code, "MS-2309", "MS-2311"}


async def flow_lists(link: Link, subjects: Sequence[str]) -> list[Mapping[str, Any]]:
    """Of each node that runs flows: its name and their status."""
    found: list[Mapping[str, Any]] = []
    for subject in subjects:
        try:
            answer = await ask_node(link, subject, json.dumps({"action": "list"}).encode())
        except Unreachable:
            continue
        found.append({"node": subject.split(".")[2], "flows": answer.get("flows", [])})
    return found


async def ask_flow(
    link: Link, subjects: Sequence[str], flow: str, action: str, more: Mapping[str, Any]
) -> Mapping[str, Any]:
    """One action on one flow, ``name`` or ``node/name``. Raises NotFoundError, and what the node answers."""
    node, slash, name = flow.rpartition("/")
    nodes = await flow_lists(link, subjects)
    having = [
        each["node"] for each in nodes
        if (not slash or each["node"] == node) and any(f["name"] == name for f in each["flows"])
    ]  # fmt: skip
    if len(having) != 1:
        known = [f"{each['node']}/{f['name']}" for each in nodes for f in each["flows"]]
        raise NotFoundError(
            "no such flow" if not having else "more than one node has a flow of this name", got=repr(flow)[:80],
            next_step=f"there are: {', '.join(known)}" if known else "no node that can be seen from here runs flows",
        )  # fmt: skip
    question = json.dumps({**more, "action": action, "flow": name}).encode()
    return await ask_node(link, f"millstream.node.{having[0]}.flows", question)


async def ask_node(
    link: Link, subject: str, payload: bytes, *, timeout_s: float = ANSWER_TIMEOUT_S
) -> Mapping[str, Any]:
    """One question to a node's service, its answer as an object. Raises Unreachable, and the error that it answers."""
    reply = await link.request(subject, payload, timeout_s=timeout_s)
    raw = json.loads(reply.payload)
    error = raw.get("error")
    if isinstance(error, dict):
        known = NotFoundError if error.get("code") in NOT_FOUND_CODES else PlantError
        raise known(
            str(error.get("message")), where=error.get("where"), expected=error.get("expected"), got=error.get("got"),
            next_step=error.get("hint"), code=error.get("code"),
        )  # fmt: skip
    assert isinstance(raw, dict)
    return raw

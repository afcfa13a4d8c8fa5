"""The flows of the nodes that can be seen from here, and what may be asked of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.bus._link import Link
from millstream.kernel import NotFoundError, PlantError, Unreachable

ANSWER_TIMEOUT_S = 30.0


async def flow_lists(link: Link, subjects: Sequence[str]) -> list[Mapping[str, Any]]:
    """Of each node that runs flows: its name and their status."""
    found: list[Mapping[str, Any]] = []
    for subject in subjects:
        try:
            answer = await _ask(link, subject, {"action": "list"})
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
    return await _ask(link, f"millstream.node.{having[0]}.flows", {**more, "action": action, "flow": name})


async def _ask(link: Link, subject: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    reply = await link.request(subject, json.dumps(request).encode(), timeout_s=ANSWER_TIMEOUT_S)
    raw = json.loads(reply.payload)
    error = raw.get("error")
    if isinstance(error, dict):
        known = NotFoundError if error.get("code") == NotFoundError.default_code else PlantError
        raise known(
            str(error.get("message")), where=error.get("where"), expected=error.get("expected"), got=error.get("got"),
            next_step=error.get("hint"), code=error.get("code"),
        )  # fmt: skip
    assert isinstance(raw, dict)
    return raw

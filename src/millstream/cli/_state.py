"""Commands on the state of nodes: ledger, status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from millstream.cli._output import EXIT_CHECK, EXIT_OK, print_json, print_line, print_table
from millstream.client import Ledger, connect

ACCOUNT = ("origin", "messages", "samples", "records", "gaps", "repeats", "out_of_order", "unrecorded", "is_clean")
PUBLISHER = ("stream", "node", "publisher", "batch", "total_messages", "total_samples", "time")
CONNECTOR = (
    "name",
    "type",
    "state",
    "samples_received",
    "samples_stored",
    "samples_bad",
    "frames_quarantined",
    "error",
)


def ledger(*, recount: bool = False, node: str | None = None, url: str | None = None, json: bool = False) -> int:
    """What was stored, and the recount of it: gaps, repeats, order. Exit 6 when the account is not clean.

    Examples: `millstream ledger`; `millstream ledger --recount --json`.

    Parameters
    ----------
    recount
        Read all messages and count again here, instead of showing the node's own running account.
    node
        Data directory of the node.
    url
        Address of a node.
    json
        Print as JSON.
    """
    account = asyncio.run(_ledger(recount, node, url))
    document = account.as_dict()
    if json:
        print_json(document)
    else:
        print_table(PUBLISHER, document["publishers"], title="what the publishers stored")
        print_line("")
        print_table(ACCOUNT, document["origins"], title="the recount")
        print_line("clean: nothing missing, repeated or out of order" if account.is_clean else "NOT clean, see above")
    return EXIT_OK if account.is_clean else EXIT_CHECK


async def _ledger(is_recounted: bool, node: str | None, url: str | None) -> Ledger:
    async with connect(node=node, url=url) as plant:
        return await plant.ledger(recounted=is_recounted)


def status(*, node: str | None = None, url: str | None = None, json: bool = False) -> int:
    """How the nodes are: connectors, uplink, streams, alarms.

    Examples: `millstream status`; `millstream status --node ./data --json`.

    Parameters
    ----------
    node
        Data directory of the node.
    url
        Address of a node.
    json
        Print as JSON.
    """
    nodes = asyncio.run(_status(node, url))
    if json:
        print_json(nodes)
        return EXIT_OK
    for each in nodes:
        _print_node(each)
    return EXIT_OK


async def _status(node: str | None, url: str | None) -> Sequence[Mapping[str, Any]]:
    async with connect(node=node, url=url) as plant:
        return await plant.status()


def _print_node(node: Mapping[str, Any]) -> None:
    print_line(f"{node.get('role')} {node.get('name')}  memory {node.get('rss_mb')} MB  version {node.get('version')}")
    uplink = node.get("uplink")
    if isinstance(uplink, Mapping):
        print_line(f"  uplink {uplink.get('state')}, {uplink.get('behind_messages', 0)} messages wait")
    if node.get("connectors"):
        print_table(CONNECTOR, node["connectors"])
    print_table(("name", "messages", "bytes", "first_seq", "last_seq"), node.get("streams") or ())
    for alarm in node.get("alarms") or ():
        print_line(f"  ALARM {alarm.get('code')} {alarm.get('message')}")

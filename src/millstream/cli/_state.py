"""``status`` and ``ledger``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, duration, flattened, note, print_json, print_table, shown
from millstream.cli._output import size as size_text
from millstream.kernel import SystemClock, Unreachable

if TYPE_CHECKING:
    from millstream.client import Ledger

ACCOUNT_FIELDS = ("messages", "samples", "gaps", "repeats", "out_of_order", "surplus", "unrecorded")


def status(*, json: Json = False, target: Target = DEFAULT) -> int:
    """Show how the nodes are: connectors, streams, uplink, alarms.

    At a hub of tenants without --tenant: how the hub and each tenant is.

    Examples:

        millstream status
        millstream status --json | jq '.nodes[].connectors[] | {name, state}'

    Parameters
    ----------
    json
        Print one object with every node's whole report.
    """

    from millstream.client import PROVIDER

    async def work() -> int:
        """The node asked first, then those that it sees."""
        async with replace(target, tenant=target.tenant or PROVIDER).connect() as plant:
            nodes = await plant.status()
        if not nodes:
            raise Unreachable(
                "no node answers behind this server", where=plant.node.nats_url, next_step="run `millstream doctor`"
            )
        if json:
            print_json({"nodes": nodes})
            return OK
        for node in nodes:
            _print_node(node, SystemClock().now_ns())
        return OK

    return run(work())


def _print_node(node: Mapping[str, Any], now_ns: int) -> None:
    since = duration((now_ns - int(node.get("started_ns") or now_ns)) / 1e9)
    memory = f", {node['rss_mb']:.0f} MB" if isinstance(node.get("rss_mb"), (int, float)) else ""
    note(f"{node.get('role')} {node.get('name')}: up for {since}{memory}, version {node.get('version')}")
    uplink = node.get("uplink")
    if isinstance(uplink, dict) and uplink.get("state") not in (None, "none"):
        behind = uplink.get("behind_messages") or 0
        age = duration((uplink.get("data_age_ms") or 0) / 1e3)
        note(f"  uplink {uplink['state']}: {behind} messages behind, oldest {age}")
    connectors = node.get("connectors") or []
    if connectors:
        print_table(
            ("connector", "type", "state", "received", "stored", "bad", "age", "error"),
            [_connector_row(c, now_ns) for c in connectors],
            right=("received", "stored", "bad", "age"),
        )
    streams = node.get("streams") or []
    if streams:
        rows = [(s.get("name"), s.get("messages"), size_text(s.get("bytes") or 0), s.get("last_seq")) for s in streams]
        print_table(("stream", "messages", "size", "last_seq"), rows, right=("messages", "size", "last_seq"))
    for alarm in node.get("alarms") or []:
        note(f"  alarm {alarm.get('code')}: {shown(alarm.get('message'))}")
    _print_tenants(node)


def _print_tenants(node: Mapping[str, Any]) -> None:
    tenants = node.get("tenants") or []
    if tenants:
        fields = ("name", "place", "is_up", "sites", "sites_locked_out", "join_answers_lost", "join_requests_left")
        rows = [[*flattened(tenant, fields), len(tenant.get("alarms") or ())] for tenant in tenants]
        columns = ("tenant", "place", "up", "sites", "locked out", "join answers lost", "join requests left", "alarms")
        print_table(columns, rows, right=columns[3:])
    for tenant in tenants:
        for alarm in tenant.get("alarms") or []:
            note(f"  tenant {tenant.get('name')}: alarm {alarm.get('code')}: {shown(alarm.get('message'))}")
    audit = node.get("audit") or {}
    if any(audit.values()):
        failed, untold = audit.get("failures"), audit.get("violations_untold")
        note(f"  audit: {failed} events were not stored, {untold} violations not told")


def _connector_row(connector: Mapping[str, Any], now_ns: int) -> Sequence[object]:
    last_ns = connector.get("last_sample_ns")
    age = duration((now_ns - last_ns) / 1e9) if last_ns else None
    fields = ("name", "type", "state", "samples_received", "samples_stored", "samples_bad")
    return [*flattened(connector, fields), age, connector.get("error")]


def ledger(
    *, recount: Annotated[bool, Parameter(negative="")] = False, json: Json = False, target: Target = DEFAULT
) -> int:
    """Show the account: stored, forwarded, missing, repeated.

    Exit status 6 when a recount shows something missing, repeated or out of order.

    Examples:

        millstream ledger
        millstream ledger --recount --json | jq .is_clean

    Parameters
    ----------
    recount
        Read all messages of the node's streams and count again here, trusting nobody.
    json
        Print one object.
    """

    async def work() -> int:
        """Records of the publishers, then the recount by origin."""
        async with target.connect() as plant:
            found = await plant.ledger(recounted=recount)
        if json:
            print_json(found.as_dict())
        else:
            _print_ledger(found, SystemClock().now_ns())
        return OK if found.is_clean else CHECK_FAILED

    return run(work())


def _print_ledger(found: Ledger, now_ns: int) -> None:
    if found.rows:
        rows = [
            (r.node, r.publisher, r.place, r.total_messages, r.total_samples, duration((now_ns - r.time_ns) / 1e9))
            for r in found.rows
        ]
        numbers = ("messages", "samples", "age")
        print_table(("node", "publisher", "place", "messages", "samples", "age"), rows, right=numbers)
    if found.accounts:
        accounts = [
            (name, *(getattr(account, f) for f in ACCOUNT_FIELDS), "clean" if account.is_clean else "NOT CLEAN")
            for name, account in sorted(found.accounts.items())
        ]
        print_table(("origin", *ACCOUNT_FIELDS, "verdict"), accounts, right=ACCOUNT_FIELDS)
        note("nothing lost, nothing twice" if found.is_clean else "the account does not balance")
    elif found.rows:
        note("these are the publishers' own records; --recount proves them")
    else:
        note("nothing was stored yet")

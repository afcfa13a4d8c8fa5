"""``fleet query|data``: ask every node now, print those that fit as they answer; samples from where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from millstream.cli._options import DEFAULT, OUTPUT_GROUP, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, json_text, note, print_json, print_text, shown
from millstream.cli._query import Format, format_of, write_table

if TYPE_CHECKING:
    from millstream.protocols.fleet_data import DataSummary
    from millstream.protocols.fleet_query import FleetMatch, FleetSummary

NAMES_SHOWN_MAX = 10
YEAR_9999_S = 253_370_764_800  # an edge may say anything


def query(
    filter: str | None = None,
    /,
    *,
    select: Annotated[list[str] | None, Parameter(negative="")] = None,
    nodes: Annotated[list[str] | None, Parameter(name="--of", negative="")] = None,
    deadline: str = "2s",
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Ask every node of the fleet now, and print those that fit.

    The filter is CEL over the facts of a node and runs at each edge, so only matches answer in full. `and` and `or`
    may stand for && and ||. A node without a fact that the filter asks for does not fit, and is counted apart.
    Exit status 6 when a node did not answer, or could not.
    With --tenant provider it is who runs a hub of tenants that asks: of all tenants' sites, called tenant/site, what
    their statuses tell, such as version, link, connectors and codes of alarms.

    Examples:

        millstream fleet query 'os.name == "Debian" and connectors.opcua.state != "ok"'
        millstream fleet query 'disk.free_ratio < 0.1' --select disk,streams
        millstream fleet query --of plant1 --select '*' --json

    Parameters
    ----------
    filter
        Such as link.state == "cut"; left out: every node.
    select
        Facts to print, with commas: os.name, connectors.*.state; '*' is all.
    nodes
        Ask only these.
    deadline
        How long to wait for the last.
    json
        Print one object a node, then one with the account.
    """

    async def work() -> int:
        """One line a node, the account at the end."""
        async with target.connect() as plant:
            asked = plant.fleet.query(filter, select=_names(select), nodes=nodes and _names(nodes), deadline=deadline)
            async for node in asked:
                _show(node, is_json=json)
        assert asked.summary is not None
        if json:
            print_json({"summary": msgspec.to_builtins(asked.summary)})
        else:
            note(account(asked.summary))
        return _status(asked.summary)

    return run(work())


@Parameter(name="*")
@dataclass(frozen=True)
class OfHistory:
    """Ask the edges' own histories.

    Parameters
    ----------
    history
        Of what the edges' own histories keep, which is longer than their streams do.
    every
        Windows of this length instead of samples, such as 1min, worked out at the edges.
    aggregate
        Of each window: count, min, max, mean, sum, first, last, time_weighted_mean; may be repeated.
    quality
        With --history or --every: any, usable (not bad) or good.
    """

    history: Annotated[bool, Parameter(negative="")] = False
    every: str | None = None
    aggregate: Annotated[list[str] | None, Parameter(name=["--aggregate", "-a"])] = None
    quality: Literal["any", "usable", "good"] | None = None


RAW = OfHistory()


def data(
    *patterns: str,
    last: str | None = None,
    start: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    end: Annotated[str, Parameter(allow_leading_hyphen=True)] = "now",
    kind: Literal["tag", "count", "kpi", "state"] = "tag",
    nodes: Annotated[list[str] | None, Parameter(name="--of", negative="")] = None,
    of_history: OfHistory = RAW,
    max_mb: int = 64,
    output: Annotated[Format | None, Parameter(name=["--output", "-o"], group=OUTPUT_GROUP)] = None,
    file: Annotated[Path | None, Parameter(group=OUTPUT_GROUP)] = None,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Look at raw data where it lies: at the edges.

    Each edge below whose place the patterns can lie reads its own streams, with --history or --every its own history.
    Nothing needs to have reached the hub. Exit status 6 when an edge did not answer, or --max-mb cut the answer.

    Examples:

        millstream fleet data 'acme/plant1/**:vibration' --last 1min -o parquet --file minute.parquet
        millstream fleet data 'acme/**:speed' --start -10min --end -5min --json
        millstream fleet data 'acme/**:speed' --start -7d --every 1h -a mean -a max

    Parameters
    ----------
    patterns
        Paths or patterns.
    last
        So long back from each edge's own clock; left out, and without --start: 1min.
    start
        Begin, included: a time, or back from now: -15min.
    end
        End, not included.
    kind
        What is asked for.
    nodes
        Ask only these.
    max_mb
        Bound of the whole answer in MB; what it cuts is said.
    output
        table, csv, jsonl, arrow (an IPC stream) or parquet; left out: by the ending of --file.
    file
        Write to this file instead of standard output.
    json
        The same as --output jsonl.
    """

    async def work() -> int:
        """Ask, write, tell what lacks."""
        async with target.connect() as plant:
            asked = plant.fleet.data(
                *patterns, last=last, start=start, end=end, kind=kind, nodes=nodes and _names(nodes),
                bytes_max=max_mb * 1_000_000, **asdict(of_history),
            )  # fmt: skip
            table = await asked.table()
        assert asked.summary is not None
        write_table(table, "jsonl" if json else output or format_of(file), file)
        _tell(asked.summary)
        what = "samples" if of_history.every is None else "windows"
        note(f"{len(table)} {what} of {_nodes(asked.summary)} in {asked.summary.took_ms:.0f} ms")
        return OK if asked.summary.is_whole else CHECK_FAILED

    return run(work())


def _nodes(summary: DataSummary) -> str:
    missing = len(summary.missing)
    return f"{len(summary.nodes)} nodes" + (f", {missing} missing," if missing else "")


def _tell(summary: DataSummary) -> None:
    """What an edge's answer lacks."""
    for node, of_node in summary.nodes.items():
        if of_node.error is not None:
            note(f"{node}: {shown(of_node.error)}")
        elif of_node.truncated:
            note(f"{node}: there is more: --max-mb cut the answer")
        if of_node.holds_from_ns is not None:
            note(f"{node}: its streams hold nothing from before {_time(of_node.holds_from_ns)}")


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(min(time_ns // 10**9, YEAR_9999_S), UTC).isoformat()


def _names(given: list[str] | None) -> list[str]:
    return [name.strip() for text in given or () for name in text.split(",") if name.strip()]


def _show(node: FleetMatch, *, is_json: bool) -> None:
    if is_json:
        print_json(msgspec.to_builtins(node))
    elif node.state == "match":
        facts = (f"{name}={value}" for name, value in flat(node.facts or {}))
        print_text("  ".join([node.node, *facts]), at_once=True)
    else:
        note(f"{node.node}: {shown(node.reason)} [{node.code}]")


def flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text)."""
    found: list[tuple[str, str]] = []
    for key, value in facts.items():
        if isinstance(value, Mapping):
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", json_text(value) if isinstance(value, list) else shown(value)))
    return found


def account(summary: FleetSummary) -> str:
    """The account of a query for people."""
    parts = [
        f"{summary.matching} of {summary.expected} nodes fit, {summary.answered} answered in {summary.took_ms:.0f} ms"
    ]
    lists = {
        "lack the fact": summary.absent, "failed": summary.failed, "unreadable": summary.unreadable,
        "silent": summary.silent, "not reached": list(summary.missing),
    }  # fmt: skip
    for what, names in lists.items():
        if names:
            more = f" and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else ""
            parts.append(f"{what}: {', '.join(names[:NAMES_SHOWN_MAX])}{more}")
    return "; ".join(parts)


def _status(summary: FleetSummary) -> int:
    is_whole = summary.answered == summary.expected and not summary.failed and not summary.unreadable
    return OK if is_whole else CHECK_FAILED

"""Commands on the data: tail, get, tree, query."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from millstream.cli._output import EXIT_OK, print_json, print_line, print_table
from millstream.client import Reading, TreeNode, connect

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("path", "value", "unit", "quality", "time")


def tail(
    *patterns: str, count: int | None = None, initial: bool = False, node: str | None = None, url: str | None = None,
    json: bool = False,
) -> int:  # fmt: skip
    """Live values as they are stored, until Ctrl-C or `--count`.

    Examples: `millstream tail 'acme/**'`; `millstream tail 'acme/plant1/press:**' --count 10 --json`.

    Parameters
    ----------
    patterns
        Paths with `*` and `**`; all when left out.
    count
        Stop after so many values.
    initial
        Print the last known values first.
    node
        Data directory of the node (or MILLSTREAM_NODE).
    url
        Address of a node.
    json
        One JSON object a line.
    """
    return asyncio.run(_tail(patterns, count, initial, node, url, json))


async def _tail(
    patterns: tuple[str, ...], count: int | None, initial: bool, node: str | None, url: str | None, is_json: bool
) -> int:
    left = count
    async with connect(node=node, url=url) as plant, aclosing(plant.live(*patterns, initial=initial)) as readings:
        async for reading in readings:
            if left is not None and left <= 0:
                break
            if is_json:
                print_json(reading.as_dict())
            else:
                print_line(_line(reading))
            if left is not None:
                left -= 1
                if left == 0:
                    break
    return EXIT_OK


def _line(reading: Reading) -> str:
    unit = f" {reading.unit}" if reading.unit else ""
    quality = "" if reading.quality.is_good else f"  [{reading.quality.label}]"
    return f"{reading.time:%H:%M:%S.%f}  {reading.path}  {reading.value!s}{unit}{quality}"


def get(*patterns: str, node: str | None = None, url: str | None = None, json: bool = False) -> int:
    """The last stored value of one or more tags.

    Examples: `millstream get acme/plant1/press:temperature`; `millstream get 'acme/**' --json`.

    Parameters
    ----------
    patterns
        Paths; with `*` and `**` for many.
    node
        Data directory of the node.
    url
        Address of a node.
    json
        Print a JSON list.
    """
    readings = asyncio.run(_get(patterns, node, url))
    if json:
        print_json([reading.as_dict() for reading in readings])
    else:
        print_table(COLUMNS, [{**reading.as_dict()} for reading in readings])
    return EXIT_OK


async def _get(patterns: tuple[str, ...], node: str | None, url: str | None) -> list[Reading]:
    async with connect(node=node, url=url) as plant:
        if len(patterns) == 1 and "*" not in patterns[0] and ":" in patterns[0]:
            return [await plant.get(patterns[0])]
        return await plant.last(*patterns)


def tree(*patterns: str, node: str | None = None, url: str | None = None, json: bool = False) -> int:
    """The namespace as a tree of places and tags.

    Examples: `millstream tree`; `millstream tree 'acme/plant1' --json`.

    Parameters
    ----------
    patterns
        Which part; all when left out.
    node
        Data directory of the node.
    url
        Address of a node.
    json
        Print it nested as JSON.
    """
    root = asyncio.run(_tree(patterns, node, url))
    if json:
        print_json(root.as_dict())
    else:
        for text in _branches(root, 0):
            print_line(text)
    return EXIT_OK


async def _tree(patterns: tuple[str, ...], node: str | None, url: str | None) -> TreeNode:
    async with connect(node=node, url=url) as plant:
        return await plant.tree(*patterns)


def _branches(place: TreeNode, depth: int) -> list[str]:
    lines = [] if depth == 0 and not place.name else [f"{'  ' * max(0, depth - 1)}{place.name}/"]
    for entry in place.entries:
        name = entry.path.partition(":")[2]
        details = " ".join(filter(None, (entry.unit, entry.data_type, None if entry.kind == "tag" else entry.kind)))
        lines.append(f"{'  ' * depth}{name}{'  ' + details if details else ''}")
    for child in place.children.values():
        lines += _branches(child, depth + 1)
    return lines


def query(
    *paths: str,
    start: str = "-1h",
    end: str = "now",
    every: str | None = None,
    aggregate: list[str] | None = None,
    at: str | None = None,
    limit: int | None = None,
    quality: Literal["any", "usable", "good"] = "any",
    output: Path | None = None,
    node: str | None = None,
    url: str | None = None,
    json: bool = False,
) -> int:
    """Ask the historian: samples of a range, aggregates by window, or what was known at a moment.

    Examples: `millstream query acme/plant1/press:temperature --start -10min`;
    `millstream query 'acme/**' --every 1min --aggregate mean --json`.

    Parameters
    ----------
    paths
        Tags or patterns.
    start
        Begin, included: `-1h`, or a time such as `2026-11-21T06:00:00Z`.
    end
        End, excluded.
    every
        Width of windows, e.g. `1min`; left out: the samples themselves.
    aggregate
        count, min, max, mean, sum, first, last, time_weighted_mean.
    at
        As of this moment instead of a range.
    limit
        At most so many rows.
    quality
        Which samples count.
    output
        Write an Arrow IPC file (.arrow), Parquet (.parquet) or CSV (.csv) instead of printing.
    node
        Data directory of the node.
    url
        Address of a node.
    json
        One JSON object a line.
    """

    async def ask() -> pa.Table:
        async with connect(node=node, url=url) as plant:
            if at is not None:
                return await plant.asof(paths, at, quality=quality)
            return await plant.history(
                paths, start, end, every=every, aggregate=aggregate, limit=limit, quality=quality
            )

    table = asyncio.run(ask())
    if output is not None:
        _write_table(table, output)
    elif json:
        for row in table.to_pylist():
            print_json(row)
    else:
        print_table(table.schema.names, table.to_pylist())
    return EXIT_OK


def _write_table(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        parquet.write_table(table, path)
    elif path.suffix == ".csv":
        import pyarrow.csv as csv

        csv.write_csv(table, path)
    else:
        import pyarrow as arrow

        with arrow.OSFile(str(path), "wb") as sink, arrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

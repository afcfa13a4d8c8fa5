"""``tree``, ``get``, ``tail``, ``publish``: the namespace and its values now."""

from __future__ import annotations

import asyncio
import json as json_format
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import OK, console, note, print_json, print_table, print_text, shown
from millstream.kernel import NotFoundError, PlantError, SystemClock, parse_duration_s
from millstream.protocols.uns_payload import encode_value

if TYPE_CHECKING:
    from rich.tree import Tree

    from millstream.client import Reading, TagEntry, TreeNode

Kind = Annotated[str, Parameter(help="tag, event, state, count, kpi, alarm, cmd, ack or meta.")]


def tree(*patterns: str, kind: str | None = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Show the namespace: places, tags, units.

    Examples:

        millstream tree acme/plant1
        millstream tree '**:temperature' --json | jq -r '.tags[].path'

    Parameters
    ----------
    patterns
        Places, paths or patterns: * is one level, ** any number; left out: everything.
    kind
        Only this kind of data: tag, event, state, count, kpi, alarm.
    json
        Print one object with the list of tags.
    """

    async def work() -> int:
        """Read the tree and draw it."""
        from millstream.client import build_tree

        async with target.connect() as plant:
            entries = await plant.tags(*patterns, kind=kind)
        if json:
            print_json({"tags": [entry.as_dict() for entry in entries]})
        else:
            console().print(_drawn(build_tree(entries), patterns))
            note(f"{len(entries)} tag{'s' if len(entries) != 1 else ''}")
        return OK

    return run(work())


def _drawn(root: TreeNode, patterns: tuple[str, ...]) -> Tree:
    from rich.tree import Tree

    drawn = Tree(", ".join(patterns) or "everything", guide_style="dim", hide_root=not patterns)
    _grow(drawn, root)
    return drawn


def _grow(branch: Tree, node: TreeNode) -> None:
    from rich.text import Text

    for child in node.children.values():
        _grow(branch.add(Text(f"{shown(child.name)}/", style="bold")), child)
    for entry in node.entries:
        branch.add(_leaf(entry))


def _leaf(entry: TagEntry) -> Any:
    from rich.text import Text

    text = Text(shown(entry.path.partition(":")[2]))
    if entry.kind != "tag":
        text.append(f" ({entry.kind})", "italic")
    if entry.unit:
        text.append(f" [{shown(entry.unit)}]", "cyan")
    if entry.description:
        text.append(f"  {shown(entry.description)}", "dim")
    return text


def get(*patterns: str, kind: Kind = "tag", json: Json = False, target: Target = DEFAULT) -> int:
    """Print the last value of tags.

    Examples:

        millstream get acme/plant1/press:temperature
        millstream get 'acme/**:**' --json | jq -c '{path, value}'

    Parameters
    ----------
    patterns
        Paths or patterns; one exact path prints its value alone.
    json
        Print one object a line.
    """

    async def work() -> int:
        """One path by itself, many as a table."""
        from millstream.client import Pattern

        async with target.connect() as plant:
            exact = len(patterns) == 1 and Pattern.parse(patterns[0]).is_exact
            readings = [await plant.get(patterns[0], kind=kind)] if exact else await plant.last(*patterns, kind=kind)
        if not readings:
            raise NotFoundError(
                "no tag fits", got=", ".join(patterns) or None, next_step="list what exists with `millstream tree`"
            )
        now_ns = SystemClock().now_ns()
        if json:
            for reading in readings:
                print_json(_as_json(reading))
        elif exact:
            print_text(" ".join(part for part in (_value(readings[0]), readings[0].unit or "") if part))
            note(f"{readings[0].quality.label}, {_age(readings[0], now_ns)} ago")
        else:
            rows = [(r.path, _value(r), r.unit, r.quality.label, _age(r, now_ns)) for r in readings]
            print_table(("path", "value", "unit", "quality", "age"), rows, right=("value", "age"))
        return OK

    return run(work())


def tail(
    *patterns: str,
    kind: Kind = "tag",
    initial: Annotated[bool, Parameter(negative="")] = False,
    count: int | None = None,
    for_: Annotated[str | None, Parameter(name="--for")] = None,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Follow values as they are stored.

    Examples:

        millstream tail 'acme/plant1/**:spindle/*'
        millstream tail --json --count 10 | jq .value

    Parameters
    ----------
    patterns
        Places, paths or patterns; left out: everything.
    initial
        Begin with the last known values.
    count
        End after so many values.
    for_
        End after this time, such as 10s.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Print until there is enough."""
        seen = 0
        seconds = None if for_ is None else parse_duration_s(for_)
        async with target.connect() as plant:
            try:
                async with (
                    asyncio.timeout(seconds),
                    aclosing(plant.live(*patterns, kind=kind, initial=initial)) as live,
                ):
                    async for reading in live:
                        print_json(_as_json(reading)) if json else print_text(_line(reading))
                        seen += 1
                        if count is not None and seen >= count:
                            break
            except TimeoutError:
                pass
            finally:
                if plant.dropped_count:
                    note(f"{plant.dropped_count} messages were not shown: this terminal was too slow (they are stored)")
        return OK

    return run(work())


def publish(
    path: str,
    value: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    unit: str | None = None,
    time: str | None = None,
    kind: Kind = "tag",
    correction: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Store one value.

    Examples:

        millstream publish acme/plant1/press:operator '"Ada"'
        millstream publish acme/plant1/press:setpoint 21.5 --unit degC
        millstream publish acme/plant1/press:weight 81.4 --time 2026-01-31T06:00:00Z --correction

    Parameters
    ----------
    path
        The tag, such as acme/plant1/press:temperature.
    value
        A number, true, false, or any JSON; other text is taken as text.
    unit
        Unit as pint writes it.
    time
        Source time, such as 2026-01-31T06:00:00Z; left out: now.
    correction
        Take the place of the sample of exactly this --time; the original stays readable as recorded.
    json
        Print where it is stored as an object.
    """

    async def work() -> int:
        """Store and tell where."""
        if correction and time is None:
            raise PlantError("a correction without a time", expected="--time of the sample to correct", code="MS-0582")
        async with target.connect() as plant:
            stored = await plant.publish(
                path, parsed_value(value), unit=unit, time=time, kind=kind, is_correction=correction
            )
        if json:
            print_json({"stream": stored.stream, "seq": stored.last_seq})
        else:
            note(f"stored in {stored.stream} as message {stored.last_seq}")
        return OK

    return run(work())


def parsed_value(text: str) -> Any:
    """A value as people type it: JSON, or else text."""
    try:
        value = json_format.loads(text)
    except ValueError:
        return text
    return text if value is None else value


def _as_json(reading: Reading) -> dict[str, Any]:
    """With the codec's own forms for what JSON lacks (NaN, bytes), so that nothing is lost in a pipe."""
    return {**reading.as_dict(), "value": json_format.loads(encode_value(reading.value))}


def _value(reading: Reading) -> str:
    value = reading.value
    if value is None:
        return "-"
    if isinstance(value, (dict, list, bytes)):
        return shown(encode_value(value).decode())
    return shown(value)


def _age(reading: Reading, now_ns: int) -> str:
    from millstream.cli._output import duration

    return duration((now_ns - reading.time_ns) / 1e9)


def _line(reading: Reading) -> str:
    time = reading.time.strftime("%H:%M:%S.%f")[:-3]
    text = f"{time}  {shown(reading.path)}  {_value(reading)}"
    if reading.unit:
        text += f" {shown(reading.unit)}"
    return text if reading.quality.is_good else f"{text}  {reading.quality.label}"

"""Flows of one node that feed each other in a circle: each would make the other's next input, without end.

What a built-in flow says is known from its section. Of a flow in a file of its own it is read from the source, as far
as that says it plainly (`Emit(f"{event.key}:name", ...)` in its step); what cannot be read is taken to feed nobody, so
that no sound file is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from millstream.config._finding import Findings
from millstream.config._flow import FlowEntry
from millstream.config._yaml import Loc
from millstream.kernel import DecodeError, PlantError
from millstream.protocols.uns_pattern import KINDS, Pattern, overlap

SOURCE_BYTES_MAX = 4 << 20
PASS_KIND_ON = frozenset({"deadband", "swinging_door", "dedup", "unit_conversion"})  # a tag gives a tag
_EMITS = {"Emit": "count", "EmitEvent": "event"}

Data = tuple[Pattern, str]
"""Paths and their kind."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a flow reads and says; `index` is its place in the file."""

    name: str
    index: int
    reads: Sequence[Data]
    says: Sequence[Data]

    def feeds(self, other: Told) -> Data | None:
        """What this flow says and `other` reads."""
        for pattern, kind in self.says:
            if any(kind == wanted and overlap(pattern, read) for read, wanted in other.reads):
                return pattern, kind
        return None


def check_cycles(entries: Iterable[tuple[int, FlowEntry]], loc: Loc, findings: Findings) -> None:
    """One finding for each circle, at the first of its flows. A flow does not take what it said itself."""
    told = [found for index, entry in entries if (found := told_of(index, entry)) is not None]
    feeds = {a.index: [b for b in told if b.index != a.index and a.feeds(b)] for a in told}
    known: set[int] = set()
    for flow in told:
        circle = _way_back(flow, feeds)
        if circle is None or known & {each.index for each in circle}:
            continue
        known |= {each.index for each in circle}
        steps = []
        for one, other in zip(circle, [*circle[1:], flow], strict=True):
            data = one.feeds(other)
            assert data is not None
            steps.append(f"{one.name} says {data[0].text} ({data[1]}), which {other.name} reads")
        names = " -> ".join([*(each.name for each in circle), flow.name])
        findings.add(
            (*loc, flow.index, "inputs"), f"flows feed each other without end: {names}: {'; '.join(steps)}",
            hint="name the inputs more narrowly, or give a result another name", code="MS-0708",
        )  # fmt: skip


def _way_back(flow: Told, feeds: Mapping[int, Sequence[Told]]) -> list[Told] | None:
    """The shortest circle through a flow."""
    ways: list[list[Told]] = [[flow]]
    seen = {flow.index}
    for way in ways:  # grows while it is gone through, nearest first
        for other in feeds[way[-1].index]:
            if other.index == flow.index:
                return way
            if other.index not in seen:
                seen.add(other.index)
                ways.append([*way, other])
    return None


def told_of(index: int, entry: FlowEntry) -> Told | None:
    """None when it cannot be told, or is wrong, which is told elsewhere."""
    try:
        if entry.python is not None:
            return _python(index, entry)
        return _built_in(index, entry)
    except (DecodeError, PlantError, ValidationError, OSError, SyntaxError, ValueError):
        return None


# -- built in ---------------------------------------------------------------------------------------------------------


def _built_in(index: int, entry: FlowEntry) -> Told | None:
    from millstream.flow import Input, TimePolicy
    from millstream.flow.library import FLOW_TYPES

    found = FLOW_TYPES.get(entry.type or "")
    if found is None:
        return None
    config: Any = found.Config.model_validate(entry.config)
    inputs = tuple(Input(each.pattern, each.kind) for each in entry.inputs)
    flow = found.build(entry.name, inputs, config, version=entry.version, time=TimePolicy())
    template, levels = str(config.output), getattr(config, "levels", None)
    depths = levels if isinstance(levels, tuple) else (levels,)
    is_passed_on = entry.type in PASS_KIND_ON and getattr(config, "kind", None) is None
    reads = [(Pattern.parse(each.pattern), each.kind) for each in entry.inputs]
    read_kinds = {kind for _, kind in reads}
    says: list[Data] = []
    for (pattern, read_kind), depth in product(reads, depths):
        said = Pattern.parse(f"{'/'.join(_place(pattern.asset, depth))}:{'/'.join(_names(template, pattern.names))}")
        others = read_kinds - {read_kind} if is_passed_on else set()
        says += [(said, kind) for kind in flow.outputs if kind not in others]
    names = getattr(config, "names", None)
    if isinstance(names, Mapping) and levels is None:  # of what it is given it takes these only
        wanted = [(Pattern.parse(f"{'/'.join(pattern.asset)}:{tag}"), kind, pattern) for tag in names.values()
                  for pattern, kind in reads]  # fmt: skip
        reads = [(narrow, kind) for narrow, kind, pattern in wanted if overlap(narrow, pattern)]
    return Told(entry.name, index, reads, says)


def _place(asset: Sequence[str], levels: int | None) -> Sequence[str]:
    if levels is None:
        return asset
    return asset[:levels] if "**" not in asset[:levels] else ("**",)


def _names(template: str, names: Sequence[str]) -> Iterable[str]:
    """The names that a template gives for the names of a pattern."""
    for part in template.replace("{unit}", "*").replace("{name}", "/".join(names)).split("/"):
        before, stars, after = part.partition("**")
        if not stars or part == "**":
            yield part
        elif before and not after:  # of several levels the first begins so
            yield from (f"{before}*", "**")
        elif after and not before:  # and the last ends so
            yield from ("**", f"*{after}")
        else:
            yield "**"


# -- in a file of its own ---------------------------------------------------------------------------------------------


def _python(index: int, entry: FlowEntry) -> Told | None:
    file, _, name = str(entry.python).rpartition(":")
    with Path(file).open("rb") as stream:
        tree = ast.parse(stream.read(SOURCE_BYTES_MAX))
    call = next((found for node in tree.body if (found := _call_of(node, name)) is not None), None)
    if call is None:
        return None
    given = {each.arg: each.value for each in call.keywords if each.arg is not None}
    if entry.inputs:
        reads = [(Pattern.parse(each.pattern), each.kind) for each in entry.inputs]
    else:
        reads = [data for node in _items(given.get("inputs")) if (data := _input(node)) is not None]
    step = given.get("step")
    if not isinstance(step, ast.Name) or {"key", "regroup"} & given.keys():
        return Told(entry.name, index, reads, [])
    says = [
        (Pattern.parse(f"{'/'.join(pattern.asset)}:{names}"), kind)
        for names, kind in _said_in(tree, step.id) for pattern, _ in reads
    ]  # fmt: skip
    return Told(entry.name, index, reads, says)


def _call_of(node: ast.stmt, name: str) -> ast.Call | None:
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return None
    is_it = any(isinstance(each, ast.Name) and each.id == name for each in targets)
    is_flow = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Flow"
    return value if is_it and is_flow and isinstance(value, ast.Call) else None


def _items(node: ast.expr | None) -> Sequence[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple | ast.List) else ()


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _input(node: ast.expr) -> Data | None:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "Input":
        return None
    given = {each.arg: each.value for each in node.keywords} | dict(zip(("pattern", "kind"), node.args, strict=False))
    pattern, kind = _text(given.get("pattern")), _text(given["kind"]) if "kind" in given else "tag"
    return (Pattern.parse(pattern), kind) if pattern is not None and kind in KINDS and kind is not None else None


def _said_in(tree: ast.Module, step: str) -> Iterable[tuple[str, str]]:
    """Names below the key's place, and their kind, in a step and in the functions of its file that it names."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    todo, seen = [step], {step}
    while todo:
        function = functions.get(todo.pop())
        for node in ast.walk(function) if function is not None else ():
            if isinstance(node, ast.Name) and node.id in functions and node.id not in seen:
                seen.add(node.id)
                todo.append(node.id)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _EMITS and node.args:
                kinds = [_text(each.value) for each in node.keywords if each.arg == "kind"]
                names, kind = _names_of(node.args[0]), kinds[0] if kinds else _EMITS[node.func.id]
                if names and kind in KINDS and kind is not None:
                    yield names, kind


def _names_of(path: ast.expr) -> str | None:
    """Of ``f"{event.key}:name"`` the name; None for anything else."""
    if not isinstance(path, ast.JoinedStr) or len(path.values) != 2:
        return None
    key, rest = path.values
    is_key = isinstance(key, ast.FormattedValue) and isinstance(key.value, ast.Attribute) and key.value.attr == "key"
    text = _text(rest) or ""
    return text[1:] if is_key and text.startswith(":") and "*" not in text else None

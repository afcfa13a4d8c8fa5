"""What neither a schema nor a flow's type can say of it: names that repeat, its file, whether it would feed itself."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from millstream.config._finding import Findings
from millstream.config._flow import FlowEntry
from millstream.config._flow_cycles import check_cycles
from millstream.config._yaml import Loc
from millstream.kernel import DecodeError, NotFoundError, PlantError, suggest
from millstream.protocols.module import MODEL, is_module_digest
from millstream.protocols.uns_pattern import Pattern

SOURCE_BYTES_MAX = 4 << 20
BY_EVENT_TYPE = frozenset({"oee_total"})  # they take events of another flow's type only, never what they say themselves


def check_flow_rules(raw: Sequence[Any], loc: Loc, findings: Findings, context: dict[str, Any]) -> None:
    """All flows of a file, each as far as it is valid. The user's own files are parsed, not run."""
    seen: dict[str, int] = {}
    sound: list[tuple[int, FlowEntry]] = []
    for i, item in enumerate(raw):
        if not isinstance(item, Mapping):
            continue
        name = item.get("name")
        if isinstance(name, str) and seen.setdefault(name, i) != i:
            findings.add(
                (*loc, i, "name"), f"name {name!r:.80} stands twice, first as {'.'.join(map(str, loc))}[{seen[name]}]"
            )
        try:
            entry = FlowEntry.model_validate(item, context=context)
        except ValidationError:  # its errors of form stand in the report of the whole file
            continue
        sound.append((i, entry))
        if entry.module is not None and is_module_digest(entry.module):
            if "roots" not in context:
                findings.add(
                    (*loc, i, "module"), "a module by its digest comes with a configuration from the hub only",
                    hint="name a file here", code="MS-0710",
                )  # fmt: skip
        elif entry.module is not None and entry.python is not None:
            _check_wheel(entry, (*loc, i), findings)
        elif entry.python is not None:
            _check_python(entry, (*loc, i), findings)
        elif entry.module is not None:
            _check_module(entry, (*loc, i), findings)
        else:
            _check_inputs(entry, _outputs(entry), (*loc, i), findings)
    check_cycles(sound, loc, findings)


def _outputs(entry: FlowEntry) -> Sequence[str]:
    """The kinds that a built-in flow gives out; none when that cannot be told, which is told elsewhere."""
    from millstream.flow import Input, TimePolicy
    from millstream.flow.library import FLOW_TYPES

    found = FLOW_TYPES.get(entry.type or "")
    if found is None:
        return ()
    inputs = tuple(Input(i.pattern, i.kind) for i in entry.inputs)
    try:
        config = found.Config.model_validate(entry.config)
        return found.build(entry.name, inputs, config, version=entry.version, time=TimePolicy()).outputs
    except (ValidationError, PlantError):
        return ()


def _check_inputs(entry: FlowEntry, outputs: Sequence[str], loc: Loc, findings: Findings) -> None:
    """An input that takes every name of a kind which the flow itself gives out would take the flow's own outputs."""
    for i, each in enumerate(entry.inputs):
        try:
            names = Pattern.parse(each.pattern).names
        except DecodeError:
            continue
        if each.kind in outputs and names[-1] in ("*", "**") and entry.type not in BY_EVENT_TYPE:
            findings.add(
                (*loc, "inputs", i), f"takes every {each.kind} there, the flow's own outputs too: {each.pattern!r:.80}",
                hint="name the tags, such as 'acme/plant1/**:barrier'",
            )  # fmt: skip


def _check_python(entry: FlowEntry, loc: Loc, findings: Findings) -> None:
    file, _, name = str(entry.python).rpartition(":")
    try:
        with Path(file).open("rb") as stream:
            tree = ast.parse(stream.read(SOURCE_BYTES_MAX))
    except OSError as error:
        findings.add((*loc, "python"), f"file cannot be read: {file}: {error.strerror}", code="MS-0102")
        return
    except (SyntaxError, ValueError) as error:
        findings.add((*loc, "python"), f"not a Python file: {file}: {error}")
        return
    names = _defined(tree)
    if name not in names:
        near = suggest(name, names)
        findings.add(
            (*loc, "python"), f"{name!r} is not defined in {file}", hint=f"did you mean '{near}'?" if near else None
        )


def _check_wheel(entry: FlowEntry, loc: Loc, findings: Findings) -> None:
    """Whether the wheel may be unpacked, has all that it needs, and defines the flow; nothing of it is run."""
    from millstream.flow import Wheel

    path = Path(str(entry.module))
    if not path.is_file():
        findings.add((*loc, "module"), f"no such file: {path}", code="MS-0102")
        return
    module, _, name = str(entry.python).rpartition(":")
    try:
        wheel = Wheel(path, entry.name)
        try:
            wheel.check_needs()
            names = _defined(wheel.source_of(module))
        finally:
            wheel.close()
    except PlantError as error:
        findings.add((*loc, "module"), _text(error), code=error.code)
        return
    if name not in names:
        findings.add((*loc, "python"), f"{name!r} is not defined in {module}")


def _text(error: PlantError) -> str:
    return ", ".join([error.what] + [f"{k} {v}" for k in ("expected", "got") if (v := getattr(error, k))])


def _check_module(entry: FlowEntry, loc: Loc, findings: Findings) -> None:
    """Whether a flow can be made of the module, and of what it says of itself; nothing of its steps is run."""
    from millstream.flow import Flow, Input, read_module, scored_flow, wasm_flow

    try:
        data = read_module(Path(str(entry.module)), entry.name)
        inputs = tuple(Input(each.pattern, each.kind) for each in entry.inputs)
        flow: Flow[Any]
        if entry.type == MODEL:
            flow = scored_flow(data, entry.name, inputs, entry.config, "")
        else:
            flow = wasm_flow(data, entry.name, inputs, memory_bytes=entry.module_memory, fuel=entry.module_fuel)
        flow.filters()
    except NotFoundError as error:
        findings.add((*loc, "module"), f"{error.what}: {error.got}", code="MS-0102")
        return
    except PlantError as error:
        findings.add((*loc, "module"), _text(error), hint=error.next_step, code=error.code)
        return
    _check_inputs(entry, flow.outputs, loc, findings)


def _defined(tree: ast.Module) -> set[str]:
    """The names that the file gives out, wherever it binds them at its top level."""
    found: set[str] = set()
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
            continue
        if isinstance(node, ast.ImportFrom | ast.Import):
            found.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        todo += ast.iter_child_nodes(node)
    return found

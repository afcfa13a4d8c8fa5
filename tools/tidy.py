"""Style rules that a program can check (STYLE.md). tests/architecture runs them; run alone, it prints the breaches."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"utils", "helpers", "common", "manager", "misc"}
# One package a third-party client, so that a change of library touches one place (STYLE.md, rule 26).
CLIENT_HOMES = {
    "nats": ("bus",),
    "nkeys": ("protocols",),
    "cryptography": ("tls", "connectors/opcua"),
    "asyncua": ("connectors/opcua", "sim"),
    "pymodbus": ("connectors/modbus", "sim"),
    "gmqtt": ("mqtt",),
    "google": ("protocols",),
    "serial": ("connectors/text",),
    "snap7": ("connectors/s7", "sim"),
    "pylogix": ("connectors/ethernet_ip",),
    "pycomm3": ("connectors/ethernet_ip",),
    "bacpypes3": ("connectors/bacnet", "sim"),
    "duckdb": ("historian",),
    "jsonschema_rs": ("protocols",),
    "h11": ("http/",),
    "httpx": ("http/",),
    "sqlalchemy": ("connectors/sql",),
    "starlette": ("api",),
    "uvicorn": ("api",),
    "textual": ("cli",),
    "cyclopts": ("cli",),
}


@dataclass(frozen=True)
class SourceFile:
    """One module: its path below src/millstream, its text and its tree."""

    name: str
    text: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of the tree, walked once for all rules."""
        return list(ast.walk(self.tree))

    @property
    def package(self) -> str:
        """The layer it lies in."""
        return self.name.split("/")[0]


Rule: TypeAlias = Callable[[Iterable[SourceFile]], Iterator[str]]


def read(path: Path, root: Path) -> SourceFile:
    """Read one module."""
    text = path.read_text(encoding="utf-8")
    return SourceFile(path.relative_to(root / "src" / "millstream").as_posix(), text, ast.parse(text))


def source_files(root: Path) -> list[SourceFile]:
    """All modules of the package."""
    return [read(path, root) for path in sorted((root / "src" / "millstream").rglob("*.py"))]


def ratchet(root: Path) -> dict[str, int]:
    """Breaches that are still allowed, by rule."""
    return {str(k): int(v) for k, v in tomllib.loads((root / "tools" / "ratchet.toml").read_text("utf-8")).items()}


def modules_are_short(files: Iterable[SourceFile]) -> Iterator[str]:
    """At most 600 lines (rule 10)."""
    for file in files:
        if (lines := file.text.count("\n")) > MODULE_LINES_MAX:
            yield f"{file.name}: {lines} lines, expected at most {MODULE_LINES_MAX}"


def functions_are_short(files: Iterable[SourceFile]) -> Iterator[str]:
    """At most 70 lines (rule 10)."""
    for file, node in _functions(files):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield f"{file.name}:{node.lineno} {node.name}: {length} lines, expected at most {FUNCTION_LINES_MAX}"


def functions_are_annotated(files: Iterable[SourceFile]) -> Iterator[str]:
    """Every argument and every result has a type."""
    for file, node in _functions(files):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if bare or node.returns is None:
            yield f"{file.name}:{node.lineno} {node.name}: not annotated: {', '.join(bare) or 'result'}"


def public_names_are_documented(files: Iterable[SourceFile]) -> Iterator[str]:
    """A docstring on each public class and function (rule 18)."""
    for file in files:
        if ast.get_docstring(file.tree) is None:
            yield f"{file.name}: module without docstring"
        for node in _public(file.tree):
            if ast.get_docstring(node) is None:
                yield f"{file.name}:{node.lineno} {node.name}: no docstring"


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public names of a module and of its public classes; what a function defines inside is its own affair."""
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def broad_handlers_have_a_reason(files: Iterable[SourceFile]) -> Iterator[str]:
    """`except Exception` only with a reason in a comment on its line (rule 27); a bare except never."""
    for file in files:
        lines = file.text.splitlines()
        for node in file.nodes:
            if not isinstance(node, ast.ExceptHandler):
                continue
            name = node.type.id if isinstance(node.type, ast.Name) else None
            last = node.body[-1]
            if name == "BaseException" and isinstance(last, ast.Raise) and last.exc is None:
                continue  # it cleans up and passes everything on
            comment = lines[node.lineno - 1].partition("#")[2]
            reason = comment.partition("BLE001")[2] or comment
            if node.type is None or (name in ("Exception", "BaseException") and len(reason) < 10):
                yield f"{file.name}:{node.lineno}: broad handler without a reason"


def only_the_kernel_reads_clock_and_chance(files: Iterable[SourceFile]) -> Iterator[str]:
    """No `time` or `random` import outside kernel (rule 36); simulators and the CLI's own pace are exempt."""
    for file in files:
        if file.package in ("kernel", "sim", "cli") or file.name.startswith("sdk/testing"):
            continue
        for node in file.nodes:
            names = _imported(node)
            if names & {"time", "random"}:
                yield f"{file.name}:{node.lineno}: imports {', '.join(sorted(names & {'time', 'random'}))}, use kernel"  # type: ignore[attr-defined]


def clients_have_one_home(files: Iterable[SourceFile]) -> Iterator[str]:
    """A third-party client is imported in one package only."""
    for file in files:
        for node in file.nodes:
            for name in _imported(node):
                homes = CLIENT_HOMES.get(name)
                if homes is not None and not file.name.startswith(homes):
                    yield f"{file.name}:{node.lineno}: imports {name}, whose home is {' and '.join(homes)}"  # type: ignore[attr-defined]
                if file.package in ("model", "protocols") and name in ("asyncio", "socket"):
                    yield f"{file.name}:{node.lineno}: a pure module imports {name}"  # type: ignore[attr-defined]


def modules_have_real_names(files: Iterable[SourceFile]) -> Iterator[str]:
    """No utils, helpers, common, manager (rule 9)."""
    for file in files:
        stem = file.name.rsplit("/", 1)[-1].removesuffix(".py").strip("_")
        if stem in BANNED_NAMES:
            yield f"{file.name}: say what it holds"


def no_open_ends(files: Iterable[SourceFile]) -> Iterator[str]:
    """No to-do notes and no private paths (rule 23)."""
    for file in files:
        for number, line in enumerate(file.text.splitlines(), 1):
            if any(word in line for word in ("TODO", "FIXME", "XXX:", "/home/", "/root/")):
                yield f"{file.name}:{number}: {line.strip()[:80]}"


def _functions(files: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in files:
        for node in file.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file, node


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return {node.module.split(".")[0]}
    return set()


RULES: tuple[Rule, ...] = (
    modules_are_short,
    functions_are_short,
    functions_are_annotated,
    public_names_are_documented,
    broad_handlers_have_a_reason,
    only_the_kernel_reads_clock_and_chance,
    clients_have_one_home,
    modules_have_real_names,
    no_open_ends,
)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent.parent
    everything = source_files(here)
    breaches = [f"{rule.__name__}: {text}" for rule in RULES for text in rule(everything)]
    print("\n".join(breaches))
    sys.exit(1 if breaches else 0)

"""The page of Sparkplug's normative statements: which test shows which, which are waived, which nobody shows yet.

Tests name the statements in ``@pytest.mark.tck("tck-id-...")``; the page is made from these marks without running them.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "sparkplug.md"
STATEMENTS = Path(__file__).with_name("sparkplug_statements.toml")
PREFIX = "tck-id-"
INTRO = """# Sparkplug 3.0, statement by statement

This page is written by `tools/docs_gen.py` from `tools/sparkplug_statements.toml` and the marks of the tests
(`@pytest.mark.tck`); a test keeps it fresh. Each test named here runs with `make test`, and one that fails fails the
build. *Not covered* means what it says: nothing here shows it. Ids are those of the specification, without `tck-id-`.

"""


@dataclass(frozen=True)
class Chapter:
    """Statements that stand together."""

    title: str
    who: str
    ids: tuple[str, ...]


def chapters() -> list[Chapter]:
    """All statements, in the order of the specification."""
    found = tomllib.loads(STATEMENTS.read_text(encoding="utf-8"))["chapter"]
    return [Chapter(each["title"], each["who"], tuple(each["ids"].split())) for each in found]


def waived() -> dict[str, str]:
    """Statement -> why no test shows it."""
    return dict(tomllib.loads(STATEMENTS.read_text(encoding="utf-8"))["waived"])


def marks(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """(statement, test) for each mark, tests as ``path::name``; a mark of a module counts for the module."""
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.tck" not in text:
            continue
        name = path.relative_to(root / "tests").as_posix()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for statement in _of(node):
                    yield statement, f"{name}::{node.name}"


def _of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.tck":
            for argument in decorator.args:
                assert isinstance(argument, ast.Constant), f"{node.name}: a statement's id is a literal"
                yield str(argument.value).removeprefix(PREFIX)


def page() -> str:
    """The page."""
    shown: dict[str, list[str]] = {}
    for statement, test in marks():
        shown.setdefault(statement, []).append(test)
    excused = waived()
    return INTRO + _summary(shown, excused) + "".join(_section(each, shown, excused) for each in chapters())


def _summary(shown: dict[str, list[str]], excused: dict[str, str]) -> str:
    lines = ["| binds | statements | shown | waived | not covered |", "|---|---|---|---|---|"]
    everyone = sorted({chapter.who for chapter in chapters()})
    for who in [*everyone, None]:
        ids = [each for chapter in chapters() if who in (None, chapter.who) for each in chapter.ids]
        count_shown = sum(1 for each in ids if each in shown)
        count_waived = sum(1 for each in ids if each in excused and each not in shown)
        rest = len(ids) - count_shown - count_waived
        lines.append(f"| {who or '**together**'} | {len(ids)} | {count_shown} | {count_waived} | {rest} |")
    return "\n".join(lines) + "\n"


def _section(chapter: Chapter, shown: dict[str, list[str]], excused: dict[str, str]) -> str:
    lines = [f"\n## {chapter.title} ({chapter.who})\n", "| statement | shown by |", "|---|---|"]
    for each in chapter.ids:
        if each in shown:
            cell = "<br>".join(f"`{test}`" for test in sorted(set(shown[each])))
        elif each in excused:
            cell = f"waived: {excused[each]}"
        else:
            cell = "*not covered*"
        lines.append(f"| `{each}` | {cell} |")
    return "\n".join(lines) + "\n"

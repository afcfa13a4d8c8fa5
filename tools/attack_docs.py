"""The page of attempts to get in: what was tried, which layer refused it, which test shows it.

Tests say both in ``@pytest.mark.attack("what", layer="which")``; the page is made from the marks without running them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "attacks.md"
INTRO = """# Attempts to get in

This page is written by `tools/docs_gen.py` from the marks of the tests (`@pytest.mark.attack`); a test keeps it fresh.
Each attempt is made against a real node, most of them a hub in operator mode, by a test that runs with `make test`, and
fails the build when it gets in. Where the server or the hub can know of an attempt, the test also asks for its audit
event. Of a site that only *listens* where it may not nats-server tells when it names one subject; wildcards it takes in
silence and delivers nothing of, so the hub looks at what stands, within seconds: what stands for less may be missed.

| attempt | refused by | shown by |
|---|---|---|
"""


def marks(root: Path = ROOT) -> Iterator[tuple[str, str, str]]:
    """(what, layer, test) for each mark."""
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.attack" not in text:
            continue
        name = path.relative_to(root / "tests").as_posix()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("attack"):
                        what, layer = decorator.args[0], decorator.keywords[0].value
                        assert isinstance(what, ast.Constant), f"{node.name}: what is tried is a literal"
                        assert isinstance(layer, ast.Constant), f"{node.name}: the layer is a literal"
                        yield str(what.value), str(layer.value), f"{name}::{node.name}"


def page() -> str:
    """The page."""
    return INTRO + "".join(f"| {what} | {layer} | `{test}` |\n" for what, layer, test in marks())

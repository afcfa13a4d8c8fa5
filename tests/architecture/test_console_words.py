"""What nodes, flows and records call a thing has words on the console's pages: a code never reaches an eye alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from millstream.flow.library import FLOW_TYPES
from millstream.protocols.alarm import Action
from millstream.protocols.command import State
from millstream.protocols.rollout import RolloutState, SiteStage
from millstream.protocols.site_config import Kind
from millstream.shop import Category

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "millstream"
WORDS = (ROOT / "console" / "src" / "words" / "codes.ts").read_text(encoding="utf-8")
TYPE = re.compile(r'"millstream\.([a-z_.]+)"')


def _groups() -> dict[str, frozenset[str]]:
    """Group -> the codes in it that have words."""
    table = WORDS[WORDS.index("const CODES") : WORDS.index("} satisfies")]
    parts = re.split(r"^  (\w+): \{", table, flags=re.MULTILINE)[1:]
    found = zip(parts[::2], parts[1::2], strict=True)
    return {name: frozenset(a or b for a, b in re.findall(r'(?:"([^"]+)"|(\w+)): \[', text)) for name, text in found}


def _explained(module: str, function: str) -> set[str]:
    """The names of what a figure is made of."""
    tree = ast.parse((SOURCE / module).read_text(encoding="utf-8"))
    made = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    assert len(made) == 1
    every = [key for node in ast.walk(made[0]) if isinstance(node, ast.Dict) for key in node.keys]
    return {str(key.value) for key in every if isinstance(key, ast.Constant)}


def _event_types() -> set[str]:
    """Of flows, stops, parts, orders: those that stand in the code as they are."""
    text = "\n".join(
        path.read_text(encoding="utf-8") for part in ("flow", "shop") for path in (SOURCE / part).rglob("*.py")
    )
    return {found for found in TYPE.findall(text) if not found.startswith(("flow.library", "alarm."))}


@pytest.mark.parametrize(
    ("group", "codes"),
    [
        ("command", get_args(State)),
        ("rollout", get_args(RolloutState)),
        ("stage", get_args(SiteStage)),
        ("revision", get_args(Kind)),
        ("action", get_args(Action)),
        ("category", [one.value for one in Category]),
        ("flow", list(FLOW_TYPES)),
        ("event", _event_types()),
        ("fact", _explained("flow/library/_oee.py", "_explained")),
        ("fact", _explained("flow/library/_energy.py", "_explained")),
    ],
)
def test_each_code_has_words(group: str, codes: list[str]) -> None:
    assert set(codes), "there are some"
    assert set(codes) - _groups()[group] == set()


def test_each_doubt_that_has_words_is_still_told_so() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (SOURCE / "shop").glob("*.py"))
    assert [doubt for doubt in _groups()["doubt"] if f'"{doubt}"' not in text] == []

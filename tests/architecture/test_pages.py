"""ARCHITECTURE.md shows the layers that the linter enforces."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_packages_of_the_page_are_the_layers_that_are_enforced() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = re.search(r"^## Packages.*?^```\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    shown = [re.split(r"\s{3,}", line)[0].strip() for line in block[1].splitlines()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert shown == [layer for layer in layers if layer != "__main__"]


def test_the_page_on_architecture_stays_short() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 300

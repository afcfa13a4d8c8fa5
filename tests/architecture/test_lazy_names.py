"""Packages that import their names lazily give all of them, and each from the module that it is said to be in."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "millstream"
LAZY = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py") if "lazy_names(" in path.read_text("utf-8"))
NOT_FOR_A_WORKER = ("nats", "yaml", "millstream.config._hub", "millstream.config._edge", "millstream.flow._training",
                    "millstream.worker._director")  # fmt: skip


def declared(package: str) -> dict[str, tuple[str, str]]:
    """What type checkers see: a name's module, and its name there."""
    tree = ast.parse((SOURCE / package / "__init__.py").read_text("utf-8"))
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and each.module]
    return {
        alias.asname or alias.name: (each.module or "", alias.name)
        for each in imports
        if (each.module or "").startswith(f"millstream.{package}.")
        for alias in each.names
    }


@pytest.mark.parametrize("package", LAZY)
def test_a_lazy_name_is_the_one_that_type_checkers_see(package: str) -> None:
    """Each of `__all__` is found; what is declared is what comes, and nothing else does."""
    module, names = importlib.import_module(f"millstream.{package}"), declared(package)
    assert set(names) <= set(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), name
    for name, (where, inside) in names.items():
        assert getattr(module, name) is getattr(importlib.import_module(where), inside), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018 - asked for


def test_a_flow_worker_loads_no_more_than_it_needs() -> None:
    """Each module that it does not need costs every worker of every node its start."""
    code = "import sys, millstream.worker.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(set(NOT_FOR_A_WORKER) & set(done.stdout.split())) == []

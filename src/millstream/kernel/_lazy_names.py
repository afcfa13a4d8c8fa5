"""Names of a package that are imported when somebody asks for them (PEP 562): a process pays for what it uses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package. `modules` says which names each private module has: ``{"_box": "Box"}``,
    several with blanks between; ``NAME=OTHER`` is known outside as OTHER."""
    places = {}
    for module, names in modules.items():
        for name in names.split():
            inside, _, outside = name.partition("=")
            places[outside or inside] = module, inside

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, inside = places[name]
        found = getattr(import_module(f"{package}.{module}"), inside)
        setattr(sys.modules[package], name, found)  # from now on it is there without asking
        return found

    return find

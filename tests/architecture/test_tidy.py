"""The tidy rules hold, and the ratchet only shrinks."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import tidy  # noqa: E402  (tools/ is no package)


def test_the_tree_is_tidy() -> None:
    """Each rule finds no more than the ratchet allows, and the ratchet allows no more than is found."""
    files, wrong = list(tidy.source_files(ROOT)), []
    for rule in tidy.RULES:
        found = sorted(rule(files))
        allowed = tidy.ratchet(ROOT).get(rule.__name__, 0)
        if len(found) > allowed:
            wrong += [f"{rule.__name__}, {allowed} allowed:", *found]
        elif len(found) < allowed:
            wrong.append(f"the ratchet of {rule.__name__} may shrink to {len(found)}: edit tools/ratchet.toml")
    assert not wrong, "\n".join(wrong)


def test_no_two_files_of_tests_share_a_name() -> None:
    """pytest would run only the first one that a process meets."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts]
    names = Counter(path.name for path in files if "venvs" not in path.parts)
    assert [name for name, count in names.items() if count > 1] == []


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """A file that breaks every rule is caught by every rule."""
    bad = tmp_path / "src" / "millstream" / "model" / "utils.py"
    bad.parent.mkdir(parents=True)
    body = "\n".join(f"    x{i} = {i}" for i in range(80))
    bad.write_text(
        "import time, duckdb\n"
        "# TODO later\n"
        f"def long_one(a, b):\n{body}\n    return time.time()\n"
        "try:\n    pass\nexcept Exception:\n    pass\n" + "\n".join("# filler" for _ in range(620)) + "\n",
        encoding="utf-8",
    )
    quiet = {rule.__name__ for rule in tidy.RULES if not list(rule([tidy.read(bad, tmp_path)]))}
    assert quiet == set()

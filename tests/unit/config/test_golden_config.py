"""Each folder of tests/golden/config is a file and what `millstream check` says of it.

``python tests/unit/config/test_golden_config.py`` writes the expectations anew; review them like code.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millstream.config import load_any

CASES = Path(__file__).resolve().parents[2] / "golden" / "config"


def findings_of(folder: Path, catalog: object) -> str:
    """What is found, with the file's name alone."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        config, findings = load_any(Path("config.yaml"), catalog)  # type: ignore[arg-type]
    finally:
        os.chdir(here)
    assert (config is None) == bool(findings)
    return "".join(f"{finding}\n" for finding in findings) or "ok\n"


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir() if p.is_dir()))
def test_each_case_is_reported_as_expected(case: str, catalog: object) -> None:
    assert findings_of(CASES / case, catalog) == (CASES / case / "expected.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    from conftest import Catalog

    for folder in sorted(CASES.iterdir()):
        (folder / "expected.txt").write_text(findings_of(folder, Catalog()), encoding="utf-8")

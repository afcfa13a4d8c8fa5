"""What a browser has to load: the console's files as they are packed."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from bench._report import Row, digest

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_KB_MAX, WITH_KB_MAX = 250, 400
CHARTS = b"uplot"  # its class names are in the files that draw charts, and in no other
GZIP_LEVEL = 9


def bundle_rows(folder: Path) -> list[Row]:
    """Without the files that draw charts, and with them: program and style of all pages, and the page itself."""
    texts = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".js", ".css", ".html")
    }
    sizes = {name: len(gzip.compress(text, GZIP_LEVEL, mtime=0)) for name, text in texts.items()}
    charts = [name for name, text in texts.items() if CHARTS in text]
    page = texts["index.html"].decode()
    first = ["index.html", *(name for name in sizes if name in page)]
    whole_kb = sum(sizes.values()) / 1000
    charts_kb, first_kb = (sum(sizes[name] for name in names) / 1000 for names in (charts, first))
    return [
        _row(whole_kb - charts_kb, WITHOUT_KB_MAX, f"{first_kb:.0f} kB of it are named by the page itself", sizes),
        _row(whole_kb, WITH_KB_MAX, f"{charts_kb:.0f} kB of it draw charts: {', '.join(charts)}", sizes),
    ]


def _row(kb: float, kb_max: int, note: str, sizes: dict[str, int]) -> Row:
    return Row(
        "", f"{kb:.0f} kB", f"under {kb_max} kB", None, kb < kb_max, note, digest(sorted(sizes.items())),
        details={"bytes": sizes},
    )  # fmt: skip

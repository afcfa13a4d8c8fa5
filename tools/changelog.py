"""The changelog from its fragments: `tools/changelog.py` prints what the next release holds,
`tools/changelog.py release 0.2.0 2026-12-01` moves it into CHANGELOG.md and deletes the fragments.

Each change brings its own lines in changes/<area>.md. CHANGELOG.md is not written again with each of them: two branches
that both did so would conflict, which is what fragments are there to avoid.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("Added", "Changed", "Fixed", "Removed", "Security")
MARK = "<!-- releases, the newest first -->\n"
_ENTRY = re.compile(rf"({'|'.join(KINDS)}): (.+)")


def entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Kind and text of every entry, by area. Raises ValueError for a line that belongs to none."""
    for path in sorted(folder.glob("*.md")):
        kind, text = "", ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = _ENTRY.fullmatch(line)
            if match is None and line.strip() and not kind:
                raise ValueError(
                    f"{path.name}:{number}: expected '{KINDS[0]}: ...' or one of {KINDS[1:]}, got {line!r}"
                )
            if match is None:
                text = f"{text} {line.strip()}".rstrip()
                continue
            if kind:
                yield kind, text
            kind, text = match[1], match[2]
        if kind:
            yield kind, text


def section(folder: Path, title: str) -> str:
    """One release as Markdown."""
    found = list(entries(folder))
    parts = [f"## {title}\n"]
    for kind in KINDS:
        lines = [f"- {text[:1].upper()}{text[1:]}\n" for k, text in found if k == kind]
        if lines:
            parts += [f"\n### {kind}\n\n", *lines]
    return "".join(parts)


def release(root: Path, version: str, date: str) -> None:
    """Move the fragments into CHANGELOG.md. Raises ValueError when there is nothing to release."""
    folder, log = root / "changes", root / "CHANGELOG.md"
    if not list(entries(folder)):
        raise ValueError("nothing in changes/")
    head, mark, rest = log.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"{log.name}: expected the line {MARK.strip()!r}")
    log.write_text(f"{head}{mark}\n{section(folder, f'{version} ({date})')}{rest}", encoding="utf-8")
    for path in folder.glob("*.md"):
        path.unlink()


def main(arguments: list[str]) -> int:
    """Print, or release; the exit status."""
    try:
        if arguments[:1] == ["release"] and len(arguments) == 3:
            release(ROOT, arguments[1], arguments[2])
        elif not arguments:
            sys.stdout.write(section(ROOT / "changes", "Next release"))
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Make the page of the command line from the commands themselves. `docs_gen.py` writes and checks it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from millstream.cli._main import build_app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
INTRO = """# Command line

This page is written by `tools/docs_gen.py` from the commands; a test keeps it fresh.

Standard output has data only; messages and errors go to standard error. A table is never cut when it goes into a file
or a pipe. With `--json` every command prints JSON (streams: one object a line), which holds all that the table has, and
more; errors are then `{"error": {"code", "message", "where", "expected", "got", "hint"}}` on standard error.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage |
| 3 | not found |
| 4 | denied |
| 5 | no connection, or no answer in time |
| 6 | a check failed: configuration, health, ledger |
| 130 | interrupted |

`--no-color` and the variable `NO_COLOR` turn colour off; `--debug` shows tracebacks. The node to talk to is named by
`--node`, `MILLSTREAM_NODE`, `--url` or `MILLSTREAM_URL`; the password for `--url` comes from `MILLSTREAM_PASSWORD`.
"""


def command_page() -> str:
    """The whole page."""
    text = build_app("*").generate_docs(output_format="markdown", usage_name="millstream")
    body = text[text.index("**Run a node**") :]
    body = re.sub(r"^\*\*(.+?)\*\*:$", r"**\1**", body, flags=re.MULTILINE)
    body = re.sub(r"\n{3,}", "\n\n", body)
    return f"{INTRO}\n{body.rstrip()}\n"


if __name__ == "__main__":
    sys.stdout.write(command_page())

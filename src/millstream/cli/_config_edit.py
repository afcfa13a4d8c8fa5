"""``config edit | diff | blame``: change a site in an editor, see what changed and who did it."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from millstream.cli._config import Comment, report_findings
from millstream.cli._config_text import bare, with_header
from millstream.cli._options import DEFAULT, Json, Sign, Target, run, signer_of
from millstream.cli._output import FAILED, OK, note, print_json, print_table, print_text
from millstream.kernel import PlantError
from millstream.protocols.cloudevents import format_time

EDITORS = ("VISUAL", "EDITOR")
FIRST = "connectors: []\n"


def edit(
    edge: str, /, *, comment: Comment = "", author: str | None = None, sign: Sign = None, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Change the document of a site in an editor, and put it.

    The editor is that of $VISUAL or $EDITOR. When your text has errors, or somebody else was faster, it is kept in a
    file that is named.

    Examples:

        millstream config edit cologne -m "a second press"
        millstream config edit cologne --author "Ada, shift 2" --json

    Parameters
    ----------
    edge
        Name of the site's edge.
    comment
        Why.
    author
        Who; left out: user and host.
    sign
        Credentials of the author, `millstream user add`, which an edge demands that joined under an operator.
    json
        Print one object.
    """
    from millstream.config import DocumentRefused

    editor = next((os.environ[name] for name in EDITORS if os.environ.get(name)), "vi")

    async def fetch() -> tuple[int, str]:
        """The newest, or a beginning."""
        async with target.connect() as plant:
            found = await plant.configs.get(edge)
        return (0, FIRST) if found is None else (found.revision.revision, found.text)

    number, before = run(fetch())
    file = _draft(edge, with_header(edge, number, before))
    ended = subprocess.run([*shlex.split(editor), str(file)], check=False)
    text = bare(file.read_text(encoding="utf-8"))
    if ended.returncode != 0 or text == before:
        file.unlink()
        note("not changed" if ended.returncode == 0 else f"the editor ended with {ended.returncode}: nothing is stored")
        return OK if ended.returncode == 0 else FAILED

    async def store() -> int:
        """Only on top of what was edited."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            stored = await plant.configs.put(
                edge, text, based_on=number, comment=comment, author=author, file=str(file)
            )
        if json:
            print_json(stored.as_dict())
        else:
            print_text(f"{edge}: revision {stored.revision}")
        return OK

    try:
        status = run(store())
    except DocumentRefused as error:
        return report_findings(error, json=json)
    except PlantError:
        note(f"your text is kept: {file}")
        raise
    file.unlink()
    return status


def _draft(edge: str, text: str) -> Path:
    """A file of its own to edit."""
    descriptor, name = tempfile.mkstemp(prefix=f"{edge}-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    return Path(name)


def diff(
    edge: str, old: int | None = None, new: int | None = None, /, *, json: Json = False, target: Target = DEFAULT
) -> int:
    """Show what differs between two revisions of a site.

    Examples:

        millstream config diff cologne
        millstream config diff cologne 3 5 --json

    Parameters
    ----------
    edge
        Name of the site's edge.
    old
        A revision; left out: the one before the newest. 0 is none at all.
    new
        A revision; left out: the newest.
    json
        Print one object a change.
    """
    from millstream.config import diff_documents

    async def work() -> int:
        """Both from the hub."""
        async with target.connect() as plant:
            after = await plant.configs.get(edge, new)
            if after is None:
                note(f"{edge} has no configuration at the hub")
                return OK
            number = after.revision.based_on if old is None else old
            before = await plant.configs.get(edge, number) if number else None
        changes = diff_documents(before.text if before else "", after.text)
        for change in changes:
            if json:
                print_json(change.as_dict())
            else:
                print_text(str(change))
        note(f"{edge}: {len(changes)} between revision {number} and {after.revision.revision}")
        return OK

    return run(work())


def blame(edge: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show which revision set each value of a site, and who.

    Examples:

        millstream config blame cologne
        millstream config blame cologne --json | jq -r 'select(.author == "ada") | .path'

    Parameters
    ----------
    edge
        Name of the site's edge.
    json
        Print one object a value.
    """
    from millstream.config import blame as blame_documents

    async def work() -> int:
        """Over all revisions that the hub has."""
        async with target.connect() as plant:
            found = await plant.configs.history(edge)
        rows = blame_documents([(each.revision, each.text) for each in found])
        if json:
            for row in rows:
                by = row.by
                print_json({"path": row.path, "value": row.value, "revision": by.revision, "author": by.author,
                            "time_ns": by.time_ns, "comment": by.comment})  # fmt: skip
            return OK
        columns = ("revision", "author", "time", "path", "value")
        print_table(
            columns,
            [(r.by.revision, r.by.author, format_time(r.by.time_ns)[:10], r.path, r.value) for r in rows],
        )
        return OK

    return run(work())

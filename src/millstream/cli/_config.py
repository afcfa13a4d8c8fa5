"""``config get | put | status | history | rollback``: what the sites should run, from the hub."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._config_text import bare, based_on_of, with_header
from millstream.cli._options import DEFAULT, Json, Sign, Target, run, signer_of
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_table, print_text
from millstream.kernel import parse_duration_s
from millstream.protocols.cloudevents import format_time

if TYPE_CHECKING:
    from millstream.client import SiteRevision
    from millstream.config import DocumentRefused

WATCH_INTERVAL_S = 0.5
Comment = Annotated[str, Parameter(name=["--comment", "-m"])]


def get(edge: str, /, *, revision: int | None = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Print the document of a site.

    Its first line names the revision; `config put` reads it there.

    Examples:

        millstream config get cologne > cologne.yaml
        millstream config get cologne --revision 3 --json

    Parameters
    ----------
    edge
        Name of the site's edge.
    revision
        An older revision; left out: the newest.
    json
        Print one object, with author, comment and time.
    """

    async def work() -> int:
        """Ask the hub."""
        async with target.connect() as plant:
            found = await plant.configs.get(edge, revision)
        if found is None:
            note(f"{edge} has no configuration at the hub: its own file counts")
            if json:
                print_json(None)
        elif json:
            print_json(found.as_dict())
        else:
            sys.stdout.write(with_header(edge, found.revision.revision, found.text))
        return OK

    return run(work())


def put(
    edge: str,
    file: Path,
    /,
    *,
    based_on: int | None = None,
    comment: Comment = "",
    author: str | None = None,
    sign: Sign = None,
    healthy_within: str = "60s",
    wait: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Make a file the newest configuration of a site.

    It is checked first; all errors are told at once. The edge takes it when it is connected, tries it, and goes back by
    itself when its connectors do not come up again in time.

    Examples:

        millstream config put cologne cologne.yaml -m "faster sampling of the press"
        millstream config put cologne cologne.yaml --based-on 4 --healthy-within 2min

    Parameters
    ----------
    edge
        Name of the site's edge.
    file
        YAML with the sections connectors, flows and streams.
    based_on
        The revision that it was made from; left out, the first line of the file says it.
    comment
        Why.
    author
        Who; left out: user and host.
    sign
        Credentials of the author, `millstream user add`, which an edge demands that joined under an operator.
    healthy_within
        How long the node may take to be healthy before it goes back.
    wait
        Stay until the site has it and is healthy; exit status 6 when it refused it or went back.
    json
        Print one object.
    """
    from millstream.config import DocumentRefused, read_text

    text = read_text(file)
    within_ms = int(parse_duration_s(healthy_within) * 1000)

    async def work() -> int:
        """Check and store."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            stored = await plant.configs.put(
                edge, bare(text), based_on=based_on_of(text) if based_on is None else based_on, comment=comment,
                author=author, healthy_within_ms=within_ms, file=str(file),
            )  # fmt: skip
        if json:
            print_json(stored.as_dict())
        else:
            print_text(f"{edge}: revision {stored.revision}")
        return OK if not wait else await _until_settled(target, edge, stored.revision)

    try:
        return run(work())
    except DocumentRefused as error:
        return report_findings(error, json=json)


async def _until_settled(target: Target, edge: str, revision: int) -> int:
    """Watch the site until it has this revision, or has given it up."""
    async with target.connect() as plant:
        while True:
            report = await plant.configs.report(edge) or {}
            failure = report.get("failure") or {}
            if report.get("phase") == "settled" and report["seen"] >= revision:
                if report["healthy_revision"] >= revision:
                    note(f"{edge}: healthy")
                    return OK
                if failure.get("revision", 0) >= revision:
                    note(f"{edge}: {failure['reason']} [{failure['code']}]")
                    return CHECK_FAILED
            await asyncio.sleep(WATCH_INTERVAL_S)


def report_findings(error: DocumentRefused, *, json: bool) -> int:
    """Print all that is wrong in a document; the exit status."""
    for finding in error.findings:
        if json:
            print_json(finding.as_dict())
        else:
            print_text(str(finding))
    note(f"not stored: {len(error.findings)} error{'s' if len(error.findings) != 1 else ''} [{error.code}]")
    return CHECK_FAILED


def history(edge: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """List the revisions of a site, newest last.

    Examples:

        millstream config history cologne
        millstream config history cologne --json | jq -r .author

    Parameters
    ----------
    edge
        Name of the site's edge.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Ask the hub."""
        async with target.connect() as plant:
            found = await plant.configs.history(edge)
        if json:
            for each in found:
                print_json(each.revision.as_dict())
            return OK
        print_table(("revision", "time", "author", "kind", "digest", "comment"), [_row(each) for each in found])
        return OK

    return run(work())


def _row(each: SiteRevision) -> tuple[object, ...]:
    revision = each.revision
    kind = f"{revision.kind} of {revision.restores}" if revision.restores else revision.kind
    when = format_time(revision.time_ns)[:19] + "Z"
    return (revision.revision, when, revision.author, kind, revision.digest[7:19], revision.comment)


def status(*, json: Json = False, target: Target = DEFAULT) -> int:
    """Show what each site should run, and what it runs.

    Exit status 6 when a site differs from what it should run.

    Examples:

        millstream config status
        millstream config status --json | jq -r 'select(.state != "healthy") | .edge'

    Parameters
    ----------
    json
        Print one object a line.
    """

    from millstream.client import site_state

    async def work() -> int:
        """Ask the hub and all its edges."""
        rows = []
        async with target.connect() as plant:
            async for edge, newest, report in plant.configs.reports():
                rows.append(site_state(edge, newest, report))
        if json:
            for row in rows:
                print_json(row)
        else:
            columns = ("edge", "desired", "runs", "state", "author", "why")
            print_table(columns, [[row[name] for name in columns] for row in rows])
        return OK if all(row["state"] in ("healthy", "own file") for row in rows) else CHECK_FAILED

    return run(work())


def rollback(
    edge: str, /, *, to: int, comment: Comment = "", author: str | None = None, sign: Sign = None, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Make an older revision of a site its newest once more.

    Examples:

        millstream config rollback cologne --to 3 -m "the new recipe was wrong"
        millstream config rollback cologne --to 3 --json

    Parameters
    ----------
    edge
        Name of the site's edge.
    to
        The revision to go back to.
    comment
        Why.
    author
        Who; left out: user and host.
    sign
        Credentials of the author, `millstream user add`, which an edge demands that joined under an operator.
    json
        Print one object.
    """

    async def work() -> int:
        """Store it again."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            stored = await plant.configs.rollback(edge, to, comment=comment, author=author)
        if json:
            print_json(stored.as_dict())
        else:
            print_text(f"{edge}: revision {stored.revision}, as {to}")
        return OK

    return run(work())

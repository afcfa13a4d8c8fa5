"""``context import|list``: equipment, products, orders, operators and reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, json_text, note, print_json, print_table, report_usage

What = Literal["template", "asset", "relation", "product", "order", "operator", "reason"]


def import_(
    *paths: Path,
    place: str,
    who: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Take equipment, products, orders, operators and reasons from CSV files.

    All or nothing: with one wrong row nothing is stored. What stands already as it is, is not stored again. Exit status
    6: there are wrong rows.

    Examples:

        millstream context import plant/ --place acme/plant1 --dry-run
        millstream context import orders.csv --place acme/plant1 --who "Ada, planning" --json

    Parameters
    ----------
    paths
        Files, or folders of files, whose names say what they hold: templates, assets, relations, products, orders,
        operators, reasons.
    place
        Where products, reasons and templates stand, such as acme/plant1; an edge takes what is below its own place.
    who
        Name for the audit; left out: user and host.
    dry_run
        Only check.
    json
        Print one object.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.csv")) if path.is_dir() else [path])]
    if not files:
        return report_usage("no CSV file", "millstream context import orders.csv --place acme/plant1", is_json=json)

    async def work() -> int:
        """Read, check, store."""
        async with target.connect() as plant:
            facts, problems = await plant.context.read(files, place)
            wrong = [problem for problem in problems if not problem.is_doubt]
            stored = 0 if wrong or dry_run else await plant.context.put(facts, who=who)
        if json:
            told = [{"where": f"{p.file}:{p.line}", "text": p.text, "is_doubt": p.is_doubt} for p in problems]
            print_json({"facts": len(facts), "stored": stored, "problems": told})
        else:
            for problem in problems:
                note(f"{'doubt' if problem.is_doubt else 'error'}: {problem}")
            note(f"{len(facts)} facts, {stored} of them new")
        return CHECK_FAILED if wrong else OK

    return run(work())


def list_(*patterns: str, what: What | None = None, json: Json = False, target: Target = DEFAULT) -> int:
    """List what is known of the plant: equipment, products, orders, operators, reasons.

    Examples:

        millstream context list acme/plant1 --what order
        millstream context list --json | jq 'select(.what == "product") | .data.ideal_cycle_s'

    Parameters
    ----------
    patterns
        Paths or patterns; left out: everything.
    what
        Only facts of this sort.
    json
        Print one object a line.
    """

    async def work() -> int:
        """The newest of each path."""
        async with target.connect() as plant:
            facts = await plant.context.list(*patterns, what=what)
        if json:
            for fact in facts:
                print_json(fact.as_dict())
        else:
            rows = [
                (fact.path, fact.what, fact.as_dict()["time"][:19], fact.who, json_text(fact.data)) for fact in facts
            ]
            print_table(("path", "what", "told", "who", "data"), rows)
        return OK

    return run(work())

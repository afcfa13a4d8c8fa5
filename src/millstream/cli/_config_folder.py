"""``config plan | apply``: the sites as they lie in a folder, for Git and CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._config import Comment
from millstream.cli._options import DEFAULT, Json, Sign, Target, run, signer_of
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_text
from millstream.kernel import PlantError, parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream.client import SitePlan

CHANGES = 2  # the exit status of a plan that would change something, as CI tools expect it


def plan(folder: Path, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show what a folder of sites would change.

    `sites/<edge>.yaml` is one site each; `base.yaml` beside the folder `sites` stands under all of them. Exit status 0:
    nothing to do, 2: something would change, 6: a file is wrong.

    Examples:

        millstream config plan plant-configs
        millstream config plan plant-configs --json | jq -r 'select(.changes != []) | .edge'

    Parameters
    ----------
    folder
        The folder with `sites` in it.
    json
        Print one object a site.
    """
    from millstream.config import load_folder

    files = load_folder(folder)

    async def work() -> int:
        """Compare with the hub."""
        async with target.connect() as plant:
            plans = await plant.configs.plan(files)
            sites = await plant.configs.sites()
        print_plans(plans, json=json)
        missing = sorted(set(sites) - {file.edge for file in files})
        if missing:
            note(f"not in the folder, and left alone: {', '.join(missing)}")
        if any(each.error is not None for each in plans):
            return CHECK_FAILED
        return CHANGES if any(each.changes for each in plans) else OK

    return run(work())


def apply(
    folder: Path, /, *, comment: Comment = "", author: str | None = None, sign: Sign = None,
    healthy_within: str = "60s",
    overwrite: Annotated[bool, Parameter(negative="")] = False, json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Make the hub's sites what a folder says.

    A second time changes nothing. With a wrong file nothing is stored at all. A site that somebody has changed by
    hand since is left alone, unless it is to be overwritten. Exit status 6 when a site was left alone.

    Examples:

        millstream config apply plant-configs -m "$(git log -1 --format=%s)"
        millstream config apply plant-configs --overwrite --json

    Parameters
    ----------
    folder
        The folder with `sites` in it.
    comment
        Why.
    author
        Who; left out: user and host.
    sign
        Credentials of the author, `millstream user add`, which an edge demands that joined under an operator.
    healthy_within
        How long each node may take to be healthy before it goes back.
    overwrite
        Undo what somebody did by hand.
    json
        Print one object a site.
    """
    from millstream.config import load_folder

    files = load_folder(folder)
    within_ms = int(parse_duration_s(healthy_within) * 1000)

    async def work() -> int:
        """Check all before the first is stored."""
        is_whole = True
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            plans = await plant.configs.plan(files)
            if any(each.error is not None for each in plans):
                print_plans(plans, json=json)
                note("nothing is stored")
                return CHECK_FAILED
            for each in plans:
                try:
                    stored = await plant.configs.apply(
                        each, comment=comment, author=author, overwrite=overwrite, healthy_within_ms=within_ms
                    )
                except PlantError as error:
                    is_whole = False
                    _print_one(each, str(error), json=json, error=error)
                else:
                    _print_one(each, "unchanged" if stored is None else f"revision {stored.revision}", json=json)
        return OK if is_whole else CHECK_FAILED

    return run(work())


def _print_one(plan: SitePlan, text: str, *, json: bool, error: PlantError | None = None) -> None:
    if json:
        print_json({"edge": plan.file.edge, "result": text, "error": error.as_dict() if error else None})
    else:
        print_text(f"{plan.file.edge}: {text}")


def print_plans(plans: Sequence[SitePlan], *, json: bool) -> None:
    """What a folder would change, and what is wrong with it."""
    from millstream.config import DocumentRefused

    for plan in plans:
        if json:
            print_json(plan.as_dict())
        elif isinstance(plan.error, DocumentRefused):
            for finding in plan.error.findings:
                print_text(str(finding))
        elif plan.error is not None:
            print_text(f"{plan.file.edge}: {plan.error}")
        elif plan.changes:
            foreign = ", over what was done by hand" if plan.is_foreign else ""
            print_text(f"{plan.file.edge}: {len(plan.changes)} change{'s' if len(plan.changes) > 1 else ''}{foreign}")
            for change in plan.changes:
                print_text(f"  {change}")
    if not json:
        changed = sum(bool(plan.changes) for plan in plans)
        note(f"{len(plans)} site{'s' if len(plans) != 1 else ''}, {changed} to change")

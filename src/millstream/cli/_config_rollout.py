"""``config rollout start | status | stop | resume | rollback``: many sites, stage by stage."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from millstream.cli._config import Comment
from millstream.cli._config_folder import print_plans
from millstream.cli._options import DEFAULT, Json, Sign, Target, run, signer_of
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_table, print_text
from millstream.kernel import NotFoundError, parse_duration_s

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from millstream.client import Plant, Rollout, SitePlan
    from millstream.config import SiteFile

WATCH_INTERVAL_S = 0.5
Flag = Annotated[bool, Parameter(negative="")]


def start(
    folder: Path, /, *, stages: str = "1,all", only: str | None = None, where: str | None = None,
    name: str | None = None, comment: Comment = "", author: str | None = None, sign: Sign = None,
    site_timeout: str = "10min", healthy_within: str = "60s", failures: int = 0, pass_away: Flag = False,
    overwrite: Flag = False, wait: Flag = False, json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Roll the changes of a folder out, stage by stage.

    The hub releases a stage, waits until each of its sites is healthy, then releases the next; it stops when a site
    fails. It goes on by itself after a restart.

    Examples:

        millstream config rollout start plant-configs --stages 1,25%,all -m "new recipe"
        millstream config rollout start plant-configs --where 'labels.zone == "south"' --pass-away --json

    Parameters
    ----------
    folder
        The folder with `sites` in it, as for `config plan`; sites without changes are left out.
    stages
        How many sites each stage reaches: counts, percentages, all.
    only
        Names of sites, with commas between them, in the order in which they get it.
    where
        A filter as for `millstream fleet query`, such as labels.zone == "south"; only sites that answer it now.
    name
        A name for the roll-out; left out, made from the time.
    comment
        Why.
    author
        Who; left out: user and host.
    sign
        Credentials of the author, `millstream user add`, which an edge demands that joined under an operator.
    site_timeout
        How long one site may take, its way to the hub included.
    healthy_within
        How long each node may take to be healthy before it goes back.
    failures
        How many sites may fail before it stops.
    pass_away
        A site that does not answer in time is no failure; it takes its revision when it is back.
    overwrite
        Undo what somebody did by hand.
    wait
        Stay until it is over; exit status 6 when it stopped or a site failed.
    json
        Print one object.
    """
    from millstream.config import load_folder

    async def work() -> int:
        """Check all, then hand it to the hub."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            plans = await _plans(plant, load_folder(folder), only, where)
            if any(plan.error is not None for plan in plans):
                print_plans(plans, json=json)
                note("nothing is rolled out")
                return CHECK_FAILED
            rollout = await plant.configs.rollouts.start(
                plans, stages=stages.split(","), name=name, comment=comment, author=author,
                site_timeout_s=parse_duration_s(site_timeout), failures_max=failures, passes_away=pass_away,
                overwrite=overwrite, healthy_within_ms=int(parse_duration_s(healthy_within) * 1000),
            )  # fmt: skip
            _tell(rollout, json=json)
            return await _over(plant, rollout) if wait else OK

    return run(work())


async def _plans(plant: Plant, files: Sequence[SiteFile], only: str | None, where: str | None) -> list[SitePlan]:
    """What the chosen files would change."""
    chosen = await _chosen(plant, [file.edge for file in files], only, where)
    by_edge = {file.edge: file for file in files}
    return await plant.configs.plan([by_edge[edge] for edge in chosen])


async def _over(plant: Plant, rollout: Rollout) -> int:
    """Watch it until it is over."""
    said = ""
    while True:
        line = _line(rollout)
        if line != said:
            note(line)
            said = line
        if rollout.state != "running":
            return OK if rollout.state == "done" and not rollout.counts().get("failed") else CHECK_FAILED
        await asyncio.sleep(WATCH_INTERVAL_S)
        rollout = await plant.configs.rollouts.get(rollout.name)


def _line(rollout: Rollout) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in rollout.counts().items())
    why = f": {rollout.reason}" if rollout.reason else ""
    return f"{rollout.name}: {rollout.state}, stage {rollout.stage} of {len(rollout.ends)}, {counts}{why}"


async def _chosen(plant: Plant, edges: Collection[str], only: str | None, where: str | None) -> list[str]:
    chosen = sorted(edges) if only is None else [edge.strip() for edge in only.split(",")]
    unknown = [edge for edge in chosen if edge not in edges]
    if unknown:
        raise NotFoundError("the folder has no such site", got=", ".join(unknown)[:200], code="MS-2415")
    if where is not None:
        found = await plant.fleet.query(where).all()
        fitting = {match.node for match in found.nodes if match.state == "match"}
        chosen = [edge for edge in chosen if edge in fitting]
    return chosen


def status(name: str | None = None, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show a roll-out and its sites, or all roll-outs.

    Exit status 6 when it has stopped or one of its sites has failed.

    Examples:

        millstream config rollout status
        millstream config rollout status r20260131T060000 --json

    Parameters
    ----------
    name
        A roll-out; left out: all.
    json
        Print one object a roll-out.
    """

    async def work() -> int:
        """From the hub."""
        async with target.connect() as plant:
            rollouts = plant.configs.rollouts
            found = await rollouts.list() if name is None else [await rollouts.get(name)]
        for rollout in found:
            if json:
                print_json({**msgspec.to_builtins(rollout), "stage": rollout.stage, "counts": rollout.counts()})
            else:
                _print(rollout, is_whole=name is not None)
        is_well = all(r.state in ("running", "done") and not r.counts().get("failed") for r in found)
        return OK if is_well or name is None else CHECK_FAILED

    return run(work())


def _print(rollout: Rollout, *, is_whole: bool) -> None:
    print_text(_line(rollout))
    if is_whole:
        rows = [(site.edge, site.revision, site.state, site.code, site.reason) for site in rollout.sites]
        print_table(("edge", "revision", "state", "code", "why"), rows)


def stop(name: str, /, *, cancel: Flag = False, sign: Sign = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Release nothing more of a roll-out.

    A hub with tenants takes the word of its authors only, signed.

    Examples:

        millstream config rollout stop r20260131T060000 --sign ann.creds
        millstream config rollout stop r20260131T060000 --cancel --json

    Parameters
    ----------
    name
        The roll-out.
    cancel
        For good: it cannot be resumed.
    sign
        Credentials of who stops it, from `millstream user add`.
    json
        Print one object.
    """

    async def work() -> int:
        """Tell the hub."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            rollouts = plant.configs.rollouts
            rollout = await (rollouts.cancel(name) if cancel else rollouts.stop(name))
        _tell(rollout, json=json)
        return OK

    return run(work())


def resume(name: str, /, *, sign: Sign = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Go on with a roll-out that has stopped; sites that failed are left as they are.

    A hub with tenants takes the word of its authors only, signed.

    Examples:

        millstream config rollout resume r20260131T060000 --sign ann.creds
        millstream config rollout resume r20260131T060000 --json

    Parameters
    ----------
    name
        The roll-out.
    sign
        Credentials of who goes on with it, from `millstream user add`.
    json
        Print one object.
    """

    async def work() -> int:
        """Tell the hub."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            rollout = await plant.configs.rollouts.resume(name)
        _tell(rollout, json=json)
        return OK

    return run(work())


def _tell(rollout: Rollout, *, json: bool) -> None:
    if json:
        print_json(msgspec.to_builtins(rollout))
    else:
        ends = ", ".join(map(str, rollout.ends))
        print_text(f"{rollout.name}: {rollout.state}, {len(rollout.sites)} sites, stages up to {ends}")


def rollback(
    name: str, /, *, author: str | None = None, sign: Sign = None, json: Json = False, target: Target = DEFAULT
) -> int:
    """Cancel a roll-out, and give its sites what they had before.

    Examples:

        millstream config rollout rollback r20260131T060000
        millstream config rollout rollback r20260131T060000 --json

    Parameters
    ----------
    name
        The roll-out.
    author
        Who; left out: user and host.
    sign
        Credentials of the author, `millstream user add`, which an edge demands that joined under an operator.
    json
        Print one object a site.
    """

    async def work() -> int:
        """A new revision for each site."""
        async with target.connect() as plant:
            plant.configs.signer = signer_of(sign)
            done = await plant.configs.rollouts.rollback(name, author=author)
        for edge, text in done.items():
            if json:
                print_json({"edge": edge, "result": text})
            else:
                print_text(f"{edge}: {text}")
        return OK

    return run(work())

"""``contract check | publish | list | show | diff``."""

from __future__ import annotations

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_table, print_text
from millstream.kernel import NotFoundError, PlantError, suggest
from millstream.protocols.cloudevents import format_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream.client import Plant, Review
    from millstream.protocols.contract import Contract

Breaking = Annotated[bool, Parameter(name="--breaking", negative="")]
_UNKNOWN = "programs that read these paths through the SDK, the history or NATS cannot be known"


def check(
    file: Path,
    /,
    *,
    against: Path | None = None,
    offline: Annotated[bool, Parameter(negative="")] = False,
    breaking: Breaking = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Check a contract file: what publishing it would change, and for whom.

    Examples:

        millstream contract check contracts.yaml
        millstream contract check contracts.yaml --against published.yaml --json

    Parameters
    ----------
    file
        A contract file, YAML or JSON.
    against
        Compare with this file instead of what the node has.
    offline
        Check the file alone.
    breaking
        A breaking change is no failure.
    json
        Print one object a finding or contract.
    """
    contracts = _load(file, json=json)
    if contracts is None:
        return CHECK_FAILED
    if offline:
        note(f"{_counted(contracts)}, no errors")
        return OK
    if against is not None:
        published = _load(against, json=json)
        if published is None:
            return CHECK_FAILED
        reviews = [_compared({c.name: c for c in published}, contract) for contract in contracts]
        return _report(reviews, json=json, is_breaking_allowed=breaking, has_nodes=False)

    async def work() -> int:
        """Ask the registry and the nodes."""
        async with target.connect() as plant:
            found = [await plant.review_contract(contract) for contract in contracts]
        return _report(found, json=json, is_breaking_allowed=breaking, has_nodes=True)

    return run(work())


def publish(file: Path, /, *, breaking: Breaking = False, json: Json = False, target: Target = DEFAULT) -> int:
    """Publish the contracts of a file, each as its next version.

    Unchanged ones are not published again. With a breaking change nothing is published, unless you allow it.

    Examples:

        millstream contract publish contracts.yaml
        millstream contract publish contracts.yaml --breaking --json

    Parameters
    ----------
    file
        A contract file, YAML or JSON.
    breaking
        Allow breaking changes.
    json
        Print one object a contract.
    """
    contracts = _load(file, json=json)
    if contracts is None:
        return CHECK_FAILED

    async def work() -> int:
        """Review all before the first is stored."""
        async with target.connect() as plant:
            reviews = [await plant.review_contract(contract) for contract in contracts]
            if not breaking and any(review.verdict == "breaking" for review in reviews):
                note("nothing is published: there are breaking changes; --breaking allows them")
                return _report(reviews, json=json, is_breaking_allowed=False, has_nodes=True)
            for contract in contracts:
                verdict, stored = await plant.publish_contract(contract, is_breaking_allowed=breaking)
                if json:
                    print_json({"name": stored.name, "version": stored.version, "verdict": verdict})
                else:
                    print_text(f"{stored.label}: {'unchanged' if verdict == 'same' else f'published, {verdict}'}")
        return OK

    return run(work())


def list_(*, json: Json = False, target: Target = DEFAULT) -> int:
    """List the contracts that count.

    Examples:

        millstream contract list
        millstream contract list --json | jq -r .name

    Parameters
    ----------
    json
        Print one object a line.
    """

    async def work() -> int:
        """The newest version of each."""
        from millstream.protocols.contract import newest_versions

        async with target.connect() as plant:
            found = list(newest_versions(await plant.contracts()).values())
        if json:
            for contract in found:
                print_json(contract.as_dict())
            return OK
        if found:
            rows = [
                (c.name, c.version, c.kind, ", ".join(c.paths), "yes" if c.is_enforced else "no", c.description)
                for c in found
            ]
            print_table(("name", "version", "kind", "paths", "enforced", "description"), rows, right=("version",))
        note(_counted(found))
        return OK

    return run(work())


def show(name: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show one contract.

    Examples:

        millstream contract show press-temperature
        millstream contract show press-temperature/2 --json

    Parameters
    ----------
    name
        A name, or a name and a version; left out, the newest version.
    json
        On one line.
    """

    async def work() -> int:
        """Find and print."""
        async with target.connect() as plant:
            contract = await _find(plant, name)
        if json:
            print_json(contract.as_dict())
        else:
            print_text(json_format.dumps(contract.as_dict(), indent=2, ensure_ascii=False))
            note(f"published {format_time(contract.published_ns)[:19]}Z")
        return OK

    return run(work())


def diff(old: str, new: str | None = None, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Compare two versions of a contract: additive or breaking, and why.

    Examples:

        millstream contract diff press-temperature
        millstream contract diff press-temperature/1 press-temperature/3

    Parameters
    ----------
    old
        A name and a version; a name alone means its version before the newest.
    new
        A name and a version; left out, the newest.
    json
        Print one object.
    """

    async def work() -> int:
        """Both from the registry."""
        async with target.connect() as plant:
            name, slash, _ = old.partition("/")
            after = await _find(plant, new or name)
            before = await _find(plant, old if slash else f"{name}/{max(1, after.version - 1)}")
        review = _compared({after.name: before}, after)
        if json:
            print_json({**review.as_dict(), "old": before.label, "new": after.label})
        else:
            print_text(f"{before.label} to {after.label}: {review.verdict}")
            _print_changes(review)
        return OK

    return run(work())


# -- parts ------------------------------------------------------------------------------------------------------------


def _load(file: Path, *, json: bool) -> list[Contract] | None:
    """The contracts of a file; None when it is wrong, which has been told."""
    from millstream.config import load_contracts

    contracts, findings = load_contracts(file)
    for finding in findings:
        if json:
            print_json(finding.as_dict())
        else:
            print_text(str(finding))
    return None if findings else contracts


def _counted(contracts: Sequence[Contract]) -> str:
    return f"{len(contracts)} contract{'s' if len(contracts) != 1 else ''}"


def _compared(published: dict[str, Contract], contract: Contract) -> Review:
    from millstream.client import Review
    from millstream.protocols.contract import compare

    old = published.get(contract.name)
    verdict, changes = compare(old, contract)
    version = contract.version or (old.version if old is not None else 0) + (verdict != "same")
    return Review(replace(contract, version=version), verdict, changes, ())


def _report(reviews: Sequence[Review], *, json: bool, is_breaking_allowed: bool, has_nodes: bool) -> int:
    for review in reviews:
        if json:
            print_json(review.as_dict())
            continue
        print_text(f"{review.contract.label}: {review.verdict}")
        _print_changes(review)
        for consumer in review.consumers:
            name = f"flow {consumer.flow}/{consumer.version} on {consumer.node}"
            how = f"read by {name} ({consumer.input})" if consumer.input else f"perhaps read by {name}, see its code"
            print_text(f"  {how}")
    if has_nodes and not json:
        note(_UNKNOWN)
    is_failed = not is_breaking_allowed and any(review.verdict == "breaking" for review in reviews)
    return CHECK_FAILED if is_failed else OK


def _print_changes(review: Review) -> None:
    for change in review.changes:
        print_text(f"  {'breaking' if change.is_breaking else 'additive'}: {change.where}: {change.what}")


async def _find(plant: Plant, text: str) -> Contract:
    name, slash, version = text.partition("/")
    if slash and not (version.isascii() and version.isdigit()):
        raise PlantError("not a version", expected="such as press-temperature/2", got=repr(text), code="MS-0582")
    contracts = await plant.contracts()
    found = [c for c in contracts if c.name == name and (not slash or c.version == int(version))]
    if found:
        return found[-1]
    near = suggest(name, {c.name for c in contracts})
    raise NotFoundError(
        "no such contract", got=repr(text),
        next_step=f"did you mean {near}?" if near and near != name else "`millstream contract list`",
    )  # fmt: skip

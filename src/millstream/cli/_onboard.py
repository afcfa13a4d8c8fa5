"""``onboard``: from a device to a mapped namespace, with proposals that a person can change."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import Json, run
from millstream.cli._output import (
    CHECK_FAILED,
    FAILED,
    OK,
    note,
    print_json,
    print_table,
    print_text,
    report_usage,
    shown,
)
from millstream.cli._probe import chosen_connectors
from millstream.kernel import ConfigError

if TYPE_CHECKING:
    from millstream.edge import Survey, TagProposal
    from millstream.sdk import Connector

ROWS_COUNT_MAX = 60  # of the preview on a terminal; the file has them all


def onboard(
    file: Path,
    name: str | None = None,
    /,
    *,
    addresses: Path | None = None,
    root: str | None = None,
    place: str | None = None,
    out: Path | None = None,
    observe: float = 5.0,
    limit: int = 5000,
    timeout: float = 120.0,
    deadbands: bool = True,
    yes: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Map a device: propose names, units and deadbands, show live values, write the file.

    Names come from the device; units from the device or a name that ends with one; deadbands from the noise of the
    values of some seconds. What is only likely stands in a comment. On a terminal it asks; in a pipe, and with --yes,
    it does not, and prints the whole edge file.

    Examples:

        millstream onboard found.yaml press7 --out edge.yaml
        millstream onboard edge.yaml boiler --addresses boiler.csv --place utilities/boiler > new.yaml
        millstream onboard edge.yaml press7 --root 'ns=2;s=Press' --yes --out edge.yaml

    Parameters
    ----------
    file
        An edge file; its connector needs a connection only. `millstream discover --yaml` writes one.
    name
        The connector; may be left out when there is one only.
    addresses
        CSV with address, name, unit, description, for devices that cannot list what they have; - for standard input.
    root
        Begin at this address of the device.
    place
        The connector's path below the edge's, such as machining/press7.
    out
        Write the file here instead of printing it; an existing one only with --yes, or when you say so.
    observe
        How long values are looked at, in seconds; 0: not at all.
    limit
        Tags at most.
    timeout
        Longest wait for the list, in seconds.
    deadbands
        Write the proposed deadbands.
    yes
        Ask nothing.
    json
        Print one object with all proposals.
    """
    chosen = chosen_connectors(file, name, is_json=json)
    if chosen is None:
        return CHECK_FAILED
    if len(chosen) != 1:
        names = ", ".join(entry.name for entry, _ in chosen)
        return report_usage("it is not clear which connector", f"name one of {names}" if names else None, is_json=json)
    entry, connector = chosen[0]
    job = _Job(file, entry.name, place or entry.path or entry.name, out, deadbands, limit, json)
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not yes and not json
    if out is not None and out.exists() and not yes and not asks:
        raise ConfigError("the file is there already", where=str(out), next_step="--yes writes it anew")
    seen = _look(connector, addresses, root, job, observe, timeout)
    return _write_asked(seen, job) if asks else _write(seen, job)


@dataclass(frozen=True, slots=True)
class _Job:
    file: Path
    name: str
    place: str
    out: Path | None
    deadbands: bool
    limit: int
    is_json: bool


def _look(
    connector: Connector, addresses: Path | None, root: str | None, job: _Job, observe_s: float, timeout_s: float
) -> Survey:
    from millstream.edge import SurveyOptions, survey

    nodes = _nodes(addresses) if addresses is not None else ()
    note(f"{job.name}: listing and looking for {observe_s:g} s")
    return run(survey(connector, SurveyOptions(root, job.limit, observe_s, timeout_s, nodes)))


def _write_asked(seen: Survey, job: _Job) -> int:
    _show(seen.proposals)
    place, deadbands, out = _ask(seen, job.place, job.deadbands, job.out or job.file)
    if out is None:
        note("nothing was written")
        return FAILED
    return _write(seen, replace(job, place=place, deadbands=deadbands, out=out), is_shown=True)


def _write(seen: Survey, job: _Job, *, is_shown: bool = False) -> int:
    """Make the file, check it, write or print it."""
    from millstream.config import read_yaml
    from millstream.edge import onboarded_file

    raw = read_yaml(job.file)
    text = onboarded_file(raw, job.name, job.place, seen.proposals, with_deadbands=job.deadbands)
    findings = _findings(text, job.file)
    for finding in findings:
        note(finding)
    if job.out is not None and not findings:
        job.out.write_text(text, encoding="utf-8")
        note(f"written: {job.out}")
    if job.is_json:
        tags = [asdict(proposal) for proposal in seen.proposals]
        print_json(
            {"connector": job.name, "place": job.place, "complete": seen.is_complete, "tags": tags, "yaml": text}
        )
    elif job.out is None:
        print_text(text.rstrip("\n"))
    elif not is_shown:
        _show(seen.proposals)
    note(_summary(seen, job.limit))
    return CHECK_FAILED if findings else OK


def _nodes(addresses: Path) -> Sequence[Any]:
    from millstream.edge import ADDRESSES_BYTES_MAX, parse_addresses

    try:
        if str(addresses) == "-":
            raw = sys.stdin.buffer.read(ADDRESSES_BYTES_MAX + 1)
        else:
            with addresses.open("rb") as stream:
                raw = stream.read(ADDRESSES_BYTES_MAX + 1)
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"addresses cannot be read: {error}", where=str(addresses), code="MS-2110") from error
    if len(raw) > ADDRESSES_BYTES_MAX:
        raise ConfigError("list of addresses is too long", where=str(addresses), expected="8 MiB", code="MS-2110")
    return parse_addresses(text, str(addresses))


def _ask(seen: Survey, place: str, deadbands: bool, out: Path) -> tuple[str, bool, Path | None]:
    """An empty answer takes what is proposed."""
    place = input(f"place of the device below the edge's path [{place}]: ").strip() or place
    if any(proposal.deadband is not None for proposal in seen.proposals):
        deadbands = input(f"write the deadbands [{'Y/n' if deadbands else 'y/N'}]: ").strip().lower() in (
            ("", "y", "yes") if deadbands else ("y", "yes")
        )
    answer = input(f"write {out}{' anew' if out.exists() else ''} [y/N, or another file]: ").strip()
    if answer.lower() in ("", "n", "no"):
        return place, deadbands, None
    return place, deadbands, out if answer.lower() in ("y", "yes") else Path(answer)


def _show(proposals: Sequence[TagProposal]) -> None:
    rows = [
        (p.name, shown(p.value)[:40], p.unit or (f"{p.unit_guess}?" if p.unit_guess else ""), p.deadband, _says(p))
        for p in proposals[:ROWS_COUNT_MAX]
    ]
    print_table(("name", "value", "unit", "deadband", "says"), rows, right=("value", "deadband"))
    if len(proposals) > ROWS_COUNT_MAX:
        note(f"and {len(proposals) - ROWS_COUNT_MAX} more")


def _says(proposal: TagProposal) -> str:
    parts = [proposal.data_type, "no value yet" if proposal.quality is None else proposal.quality]
    return ", ".join(part for part in parts if part and part != "Good")


def _summary(seen: Survey, limit: int) -> str:
    kept = [proposal for proposal in seen.proposals if not proposal.is_left_out]
    units = sum(proposal.unit is not None for proposal in kept)
    bands = sum(proposal.deadband is not None for proposal in kept)
    text = f"{len(kept)} tags, {units} with a unit, {bands} with a deadband"
    if len(kept) < len(seen.proposals):
        text += f"; {len(seen.proposals) - len(kept)} left out, the device does not have them"
    return text if seen.is_complete else f"{text}; there is more: raise --limit above {limit}"


def _findings(text: str, file: Path) -> list[str]:
    """What `check` says of it. It lies beside the source meanwhile, as its relative paths do."""
    from millstream.config import InstalledConnectors, load_any
    from millstream.flow.library import FLOW_TYPES

    folder = file.absolute().parent
    try:
        place = tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=folder, encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise ConfigError(
            f"folder cannot be written: {error.strerror}", where=str(folder), next_step="copy the file elsewhere"
        ) from error
    with place as draft:
        draft.write(text)
        draft.flush()
        _, findings = load_any(Path(draft.name), InstalledConnectors(), FLOW_TYPES)
    return [str(finding).replace(draft.name, "the new file") for finding in findings]

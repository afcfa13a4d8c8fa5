"""From a device to a mapped namespace: list what it offers, look at it for some seconds, propose, write YAML."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import yaml

from millstream.edge._apart import run_apart
from millstream.edge._probe import collect, quoted, scale_field
from millstream.edge._proposal import Observed, TagProposal, propose
from millstream.kernel import Clock, ConfigError, PlantError, SystemClock, Unreachable
from millstream.model import Sample
from millstream.sdk import Connector, NodeInfo, Polled, Session, Streamed, Tag

OBSERVED_COUNT_MAX = 2000  # tags that are looked at; more are proposed without deadbands
SAMPLES_COUNT_MAX = 256  # of one tag, kept for the estimate
SAMPLING_S = 0.2
PART_COUNT = 500  # tags of one read
ADDRESSES_BYTES_MAX = 8 << 20
CODE_ADDRESSES = "MS-2110"
_COLUMNS = ("address", "name", "unit", "description")


@dataclass(frozen=True, slots=True)
class SurveyOptions:
    """What is looked at: all below `root` up to `limit`, or `nodes`; each for `observe_s` seconds."""

    root: str | None = None
    limit: int = 5000
    observe_s: float = 5.0
    timeout_s: float = 120.0
    nodes: Sequence[NodeInfo] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen. `is_complete` is False when the device has more than the limit."""

    proposals: tuple[TagProposal, ...]
    is_complete: bool = True


def parse_addresses(text: str, where: str) -> list[NodeInfo]:
    """Addresses as CSV: address, name, unit, description; the last three may be left out. Raises ConfigError.

    A first line that names the columns and lines that begin with # are passed over.
    """
    found: list[NodeInfo] = []
    seen: set[str] = set()
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True, strict=True), 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#") or [c.lower() for c in cells] == list(_COLUMNS[: len(cells)]):
                continue
            if not cells[0] or len(cells) > len(_COLUMNS) or cells[0] in seen:
                raise ConfigError(
                    "not a list of addresses",
                    where=f"{where}:{number}",
                    expected="address, name, unit, description: one address a line, each once",
                    got=repr(",".join(row)[:80]),
                    code=CODE_ADDRESSES,
                )
            seen.add(cells[0])
            address, name, unit, description = [*cells, "", "", ""][: len(_COLUMNS)]
            found.append(NodeInfo(address, name or address, (), None, unit or None, description or None))
    except csv.Error as error:
        raise ConfigError(f"not a list of addresses: {error}", where=where, code=CODE_ADDRESSES) from error
    if not found:
        raise ConfigError("there are no addresses", where=where, expected="one a line", code=CODE_ADDRESSES)
    return found


async def survey(connector: Connector, options: SurveyOptions, clock: Clock | None = None) -> Survey:
    """List, observe and propose, in one session. Raises PlantError, also when the connector cannot list anything."""
    deadline = asyncio.timeout(options.timeout_s + options.observe_s)
    try:
        async with deadline:
            return await run_apart(_survey(connector, options, clock or SystemClock()))
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise Unreachable("no answer in time", where=connector.info.name, expected=f"{options.timeout_s:g}s") from error


async def _survey(connector: Connector, options: SurveyOptions, clock: Clock) -> Survey:
    async with connector.open() as session:
        nodes, is_complete = tuple(options.nodes), True
        if not nodes:
            found = await collect(connector, session, options.root, options.limit)
            nodes, is_complete = found.nodes, found.is_complete
        tags = []
        for node in nodes[:OBSERVED_COUNT_MAX]:
            tag = Tag(node.address, node.address, SAMPLING_S, SAMPLING_S)
            with suppress(ConfigError):  # it is proposed, and `check` tells what is wrong with it
                connector.check_tag(tag)
                tags.append(tag)
        observed = await _observe(session, tags, options.observe_s, clock)
        return Survey(tuple(propose(nodes, observed)), is_complete)


async def _observe(session: Session, tags: Sequence[Tag], span_s: float, clock: Clock) -> dict[str, Observed]:
    """The samples of `span_s` seconds."""
    observed = {tag.key: Observed() for tag in tags}
    if not tags or span_s <= 0:
        return observed
    with suppress(TimeoutError):
        async with asyncio.timeout(span_s), aclosing(_samples(session, tags, clock)) as parts:
            async for samples in parts:
                for sample in samples:
                    kept = observed.get(sample.tag)
                    if kept is not None:
                        kept.samples.append(sample)
                        del kept.samples[:-SAMPLES_COUNT_MAX]
    return observed


async def _samples(session: Session, tags: Sequence[Tag], clock: Clock) -> AsyncGenerator[Sequence[Sample], None]:
    if isinstance(session, Streamed):
        async with aclosing(session.stream(tags, None)) as batches:
            async for batch in batches:
                yield batch.samples
        return
    if not isinstance(session, Polled):
        raise PlantError("the session gives no values", code="MS-0501")
    while True:
        start_ns = clock.monotonic_ns()
        for at in range(0, len(tags), PART_COUNT):
            yield await session.read(tags[at : at + PART_COUNT])
        # Half of the time at most is the device's.
        await clock.sleep(max(SAMPLING_S, (clock.monotonic_ns() - start_ns) / 1e9))


def onboarded_file(
    raw: Mapping[str, Any], name: str, place: str, proposals: Iterable[TagProposal], *, with_deadbands: bool = True
) -> str:
    """The edge file `raw` with tags for its connector `name`, at `place`. The rest stays what it was, but comments."""
    rest = {key: value for key, value in raw.items() if key != "connectors"}
    others = [entry for entry in raw.get("connectors") or [] if entry.get("name") != name]
    own = next(entry for entry in raw["connectors"] if entry.get("name") == name)
    head = {**{k: v for k, v in own.items() if k not in ("tags", "path")}, "path": place}
    lines = [_dumped(rest).rstrip("\n"), "connectors:"]
    lines += [_indented(_dumped([entry])) for entry in others]
    lines.append(_indented(_dumped([head])))
    rows = [_row(proposal, with_deadbands) for proposal in proposals]
    lines.append("    tags:" if any(not row.lstrip().startswith("#") for row in rows) else "    tags: []")
    return "\n".join([*lines, *rows]) + "\n"


class _Dumper(yaml.SafeDumper):
    """Quotes what our files would read as a number (YAML 1.2) and the library (1.1) would not."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if text[:1] in "+-.0123456789" else None
    ),
)


def _dumped(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else line for line in text.rstrip("\n").split("\n"))


def _row(proposal: TagProposal, with_deadbands: bool) -> str:
    fields = [f"name: {quoted(proposal.name)}", f"address: {quoted(proposal.address)}"]
    if proposal.unit:
        fields.append(f"unit: {quoted(proposal.unit)}")
    if (proposal.factor, proposal.offset) != (1.0, 0.0):
        fields.append(scale_field(proposal.factor, proposal.offset))
    if proposal.deadband is not None and with_deadbands:
        fields.append(f"deadband: {{absolute: {_number(proposal.deadband)}}}")
    if proposal.description:
        fields.append(f"description: {quoted(proposal.description)}")
    notes = [proposal.data_type, _seen(proposal)]
    if proposal.unit_guess:
        notes.append(f"unit? {proposal.unit_guess}")
    note = _comment(", ".join(text for text in notes if text))
    lead = "      # - " if proposal.is_left_out else "      - "
    return f"{lead}{{{', '.join(fields)}}}" + (f"  # {note}" if note else "")


def _seen(proposal: TagProposal) -> str:
    if proposal.quality is None:
        return "no value yet"
    return "" if proposal.quality == "Good" else proposal.quality


def _number(value: float) -> str:
    """As YAML 1.2 reads it: a point or an exponent with a sign."""
    return f"{value:.12f}".rstrip("0") if 1e-9 <= value < 1 else f"{value:.1f}" if 1 <= value < 1e15 else repr(value)


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:80]

"""What the plant knows beside its data: read from CSV files, stored where it belongs, and listed."""

from __future__ import annotations

import csv
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from millstream.client._desk_tools import DeskTools
from millstream.client._orders_made import OrderTotal, orders_made
from millstream.client._owners import nodes_above
from millstream.client._paths import Where, to_address, to_patterns
from millstream.client._streams import StoredFrame, newest
from millstream.client._writes import me
from millstream.kernel import ConfigError, DecodeError, NotFoundError, suggest
from millstream.model import TagPath
from millstream.protocols.audit import act_data
from millstream.protocols.cloudevents import decode_event, encode_event, format_time
from millstream.protocols.uns_subject import decode_subject
from millstream.shop import EVENT_TYPE, FACTS, REJECT_KINDS, ContextTables, Fact, Problem, Row, fact_event

ROWS_MAX = 100_000  # of one file
COMMAND = "context"
"""The command by which a hub has an edge store facts."""
COMMAND_BYTES = 6 * 1024  # of the facts of one; its arguments take 8 KiB


@dataclass(frozen=True, slots=True)
class KnownFact:
    """One fact as it stands; `time_ns` (UTC) is when it was told, `who` by whom."""

    path: str
    what: str
    time_ns: int
    who: str
    data: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """As the CLI prints it with --json."""
        return {
            "path": self.path, "what": self.what, "time": format_time(self.time_ns), "who": self.who, "data": self.data
        }  # fmt: skip


class PlantContext:
    """The context of what can be seen from here. Made by `Plant.context`."""

    def __init__(self, tools: DeskTools) -> None:
        self._streams, self._store, self._whom = tools.streams, tools.store, tools.whom
        self._commands, self._clock, self._acts = tools.commands, tools.clock, tools.acts

    async def list(self, *patterns: Where, what: str | None = None) -> Sequence[KnownFact]:
        """The newest fact of each path, without what was removed."""
        frames: list[StoredFrame] = []
        checked = to_patterns(patterns)
        for stream in await self._streams.of_data(with_local=True):
            found = {s for p in checked for s in await self._streams.subjects(stream, p.subject_filter("_context"))}
            fitting = [
                s for s in sorted(found) if (a := to_address(s)) is not None and any(p.matches(a) for p in checked)
            ]  # fmt: skip
            frames += await self._streams.last(stream, fitting)
        facts = [fact for frame in newest(frames).values() if (fact := _fact(frame)) is not None]
        return sorted(
            (f for f in facts if not f.data.get("removed") and what in (None, f.what)), key=lambda fact: fact.path
        )

    async def orders_made(self, *patterns: Where) -> Sequence[OrderTotal]:
        """What was made for each order at each machine, as the flow `order_made` told it last."""
        return await orders_made(self._streams, patterns)

    async def category_of(self, reason: str, category: str = "") -> str:
        """What a stop of this reason counts as: `category` if given; "planned" where the reason was imported as such.
        Raises NotFoundError where reasons were imported and this is none of them."""
        kind = await self._kind_of_reason(reason, ("planned", "unplanned"))
        return "planned" if not category and kind == "planned" else category

    async def reject_kind(self, reason: str, kind: str = "") -> str:
        """What parts of this reason are: `kind` if given, else what the reason was imported as, "" when nobody says.
        Raises NotFoundError where reasons of parts were imported and this is none of them."""
        known = await self._kind_of_reason(reason, REJECT_KINDS)
        return kind or known

    async def reason_parents(self) -> Mapping[str, str]:
        """The reason above each, as they were imported."""
        return {name: str(data.get("parent", "")) for name, data in (await self._reasons()).items()}

    async def _reasons(self) -> dict[str, dict[str, Any]]:
        return {fact.path.rpartition("/")[2]: fact.data for fact in await self.list(what="reason")}

    async def _kind_of_reason(self, reason: str, kinds: Sequence[str]) -> str:
        """Of a reason that may be given here: one of these kinds, or "" for one that is for anything."""
        if not reason:
            return ""
        known = {n: each for n, each in (await self._reasons()).items() if each.get("kind", "") in ("", *kinds)}
        if known and reason not in known:
            near = suggest(reason, list(known))
            raise NotFoundError(
                "no such reason", got=reason, next_step=f"did you mean {near!r}?" if near else
                "`millstream context list --what reason` shows them",
            )  # fmt: skip
        return str(known.get(reason, {}).get("kind", ""))

    async def put(self, facts: Sequence[Fact], *, who: str | None = None) -> int:
        """Store facts where they belong, those that stand already as they are left out; how many were stored. At a hub
        facts below an edge's place become a command to that edge, which waits while the edge is away. Raises
        Unreachable, NotFoundError."""
        known = {fact.path: fact.data for fact in await self.list()}
        fresh = [fact for fact in facts if known.get(fact.path) != fact.data]
        (role, name), said_by = await self._whom(), who or me()
        for_edges: dict[str, list[Fact]] = {}
        owners: dict[tuple[str, ...], str] = {}
        for fact in fresh:
            levels = TagPath.parse(fact.path).asset.levels
            if levels not in owners:
                above = [] if role == "edge" else await nodes_above(self._streams, levels)
                owners[levels] = next((node for node in above if node != name), name)
            for_edges.setdefault(owners[levels], []).append(fact)
        if own := for_edges.pop(name, []):
            await self._put(own, known, said_by)
        for node, theirs in for_edges.items():
            for part in _parts(theirs):
                args = {"facts": [{"path": f.path, "what": f.what, "data": dict(f.data)} for f in part]}
                await self._commands.send(COMMAND, args, nodes=[node], who=said_by, expires="7d")
        return len(fresh)

    async def _put(self, facts: Sequence[Fact], known: Mapping[str, Mapping[str, Any]], who: str) -> None:
        """Store them, told by one event at the place in which they all lie."""
        places = [TagPath.parse(fact.path).asset.levels for fact in facts]
        shared = list(takewhile(lambda level: len(set(level)) == 1, zip(*places, strict=False)))
        place = "/".join(level[0] for level in shared) or "/".join(places[0])
        told = act_data(
            who, self._acts.origin, {fact.path: known.get(fact.path) for fact in facts},
            {fact.path: dict(fact.data) for fact in facts}, count=len(facts),
        )  # fmt: skip
        await self._acts.asked(COMMAND, told, place=place, id=str(uuid.uuid4()), act=self._store_all(facts, who))

    async def _store_all(self, facts: Sequence[Fact], who: str) -> None:
        for fact in facts:
            subject, event = fact_event(fact, who, str(uuid.uuid4()), self._clock.now_ns())
            headers, payload = encode_event(event)
            await self._store(subject, payload, {**headers, "Nats-Msg-Id": f"context|{event.id}"})

    async def read(self, files: Sequence[Path], place: str) -> tuple[Sequence[Fact], Sequence[Problem]]:
        """The facts of CSV files, whose names say what they hold (`orders.csv`), and what is wrong with them. Orders
        may name products that are known already. Raises ConfigError for a file that cannot be read."""
        rows: dict[str, Sequence[Row]] = {}
        for file in files:
            what = file.stem.removesuffix("s")
            if what not in FACTS:
                raise ConfigError(
                    "the name of a file says what it holds", where=str(file),
                    expected=", ".join(f"{name}s.csv" for name in FACTS), got=file.name, code="MS-2710",
                )  # fmt: skip
            rows[what] = read_rows_of(file)
        products = {f.path.rpartition("/")[2]: f.data for f in await self.list(what="product")}
        cycles = {name: float(data["ideal_cycle_s"]) for name, data in products.items() if "ideal_cycle_s" in data}
        tables = ContextTables(place, rows, cycles)
        return tables.facts(), tables.problems


def read_rows_of(file: Path) -> Sequence[Row]:
    """The rows of a CSV file in UTF-8 with a header; `,` or `;` between cells. Raises ConfigError (MS-2710)."""
    try:
        text = file.read_text("utf-8-sig")
        separator = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
        reader = csv.DictReader(text.splitlines(), delimiter=separator, strict=True)
        found = [
            Row(file.name, reader.line_num, {str(k).strip(): (v or "").strip() for k, v in row.items() if k})
            for row in reader
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("not a CSV file", where=str(file), got=str(error)[:200], code="MS-2710") from error
    if len(found) > ROWS_MAX:
        raise ConfigError("too many rows", where=str(file), expected=f"at most {ROWS_MAX}", code="MS-2710")
    return found


def _parts(facts: Sequence[Fact]) -> list[list[Fact]]:
    """Facts in portions that fit into a command."""
    found: list[list[Fact]] = []
    size = COMMAND_BYTES
    for fact in facts:
        weight = len(msgspec.json.encode([fact.path, fact.what, dict(fact.data)])) + 40
        if size + weight > COMMAND_BYTES:
            found.append([])
            size = 0
        found[-1].append(fact)
        size += weight
    return found


def _fact(frame: StoredFrame) -> KnownFact | None:
    try:
        event = decode_event(frame.headers, frame.payload)
    except DecodeError:
        return None
    what = event.type.removeprefix(f"{EVENT_TYPE}.")
    if what not in FACTS or not isinstance(event.data, dict):
        return None
    time_ns = event.time_ns if event.time_ns is not None else frame.time_ns
    return KnownFact(str(decode_subject(frame.subject).tag), what, time_ns, event.extensions.get("who", ""), event.data)

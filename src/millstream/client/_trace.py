"""What touched one stored message, and when. Every station leaves its mark in headers, so this works for each message;
a `traceparent` is only needed to find one again that another system names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, TypeAlias

from millstream.client._streams import StoredFrame, Streams, newest
from millstream.client._trace_id import Looked, first_of_trace
from millstream.kernel import DecodeError, NotFoundError
from millstream.protocols.cloudevents import parse_time_ns
from millstream.protocols.ledger import WRITER_HEADER, is_ledger_subject, parse_stream_source
from millstream.protocols.trace_context import TRACEPARENT, parse_traceparent
from millstream.protocols.uns_pattern import Pattern, contract_of
from millstream.protocols.uns_payload import ARROW_TYPE, decode_block, decode_sample
from millstream.protocols.uns_subject import decode_subject

FLOW_HEADER, INPUT_HEADER, SOURCE_HEADER = "Ms-Flow", "Ms-Flow-In", "Nats-Stream-Source"
PARENTS_MAX = 20  # flows behind one another, back to the source
SCAN_MESSAGES_MAX = 50_000  # of all that flows write, for what was made of a message
SUBJECTS_MAX = 2000  # of which it is seen whether a flow writes them
OWN_FLOWS = ("python", "wasm")
FLOW_KINDS = ("tag", "event", "state", "count", "kpi", "alarm", "context")
PAGE_MESSAGES = 500
EARLIER_NS = 5_000_000_000  # that one source of a hub's stream is behind another
HALVINGS_MAX = 64
Ask: TypeAlias = Callable[[Collection[str]], Awaitable[Sequence[Mapping[str, Any]]]]
"""How the node that is asked is, and those of these names."""
_EDGE = re.compile(r"E_(.+)_(?:[ITF]|MQTT)(?:_g\d+)?\Z")
_PLACE = re.compile(r"([A-Za-z0-9_-]+):(\d+)\Z")
_TRACE_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Station:
    """One thing that happened. `time_ns` is UTC, None when nobody noted it; `where` is a stream with a sequence, a
    flow, or what else did it."""

    time_ns: int | None
    where: str
    what: str

    def as_dict(self) -> dict[str, object]:
        """For output."""
        return {"time_ns": self.time_ns, "where": self.where, "what": self.what}


@dataclass(slots=True)
class Trace:
    """One message and its stations, in the order in which they came. `is_complete` is False when more was stored since
    than was looked through; `looked` tells of a stream of which only a part was, where a trace id does not say when it
    began: the trace may have begun before."""

    stream: str
    seq: int
    subject: str
    traceparent: str | None
    stations: list[Station] = field(default_factory=list)
    is_complete: bool = True
    looked: Sequence[Looked] = ()

    def as_dict(self) -> dict[str, object]:
        """For output."""
        found = parse_traceparent(self.traceparent or "")
        return {
            "stream": self.stream, "seq": self.seq, "subject": self.subject, "traceparent": self.traceparent,
            "trace_id": found.trace_id if found is not None else None, "is_complete": self.is_complete,
            "looked": [each.as_dict() for each in self.looked],
            "stations": [station.as_dict() for station in self.stations],
        }  # fmt: skip


async def find_trace(streams: Streams, ask: Ask, what: str, kind: str, within_ns: int) -> Trace:
    """The stations of `what`: a path (its newest message), ``STREAM:SEQUENCE``, a trace id or a whole `traceparent`.
    Raises NotFoundError, DecodeError."""
    frame, looked = await _find(streams, what, kind)
    trace = Trace(frame.stream, frame.seq, frame.subject, frame.headers.get(TRACEPARENT), looked=looked)
    past = await _parents(streams, frame)
    statuses = await ask({name for each in (*past, frame) for name in _edges_of(each)})
    for each in past:
        trace.stations += _stations(each)
    trace.stations += _stations(frame)
    for each in await _made_of(streams, statuses, frame, within_ns, trace):
        trace.stations += _stations(each)
    trace.stations += _further(statuses, frame)
    return trace


# -- which message ----------------------------------------------------------------------------------------------------


async def _find(streams: Streams, what: str, kind: str) -> tuple[StoredFrame, Sequence[Looked]]:
    parent = parse_traceparent(what)
    if parent is not None or _TRACE_ID.match(what):
        return await first_of_trace(streams, parent.trace_id if parent is not None else what)
    place = _PLACE.match(what)
    if place is not None and place[1] in await streams.names():
        found = await _at(streams, place[1], int(place[2]))
        if found is None:
            raise NotFoundError("no such message, or it was trimmed", where=what)
        return found, ()
    pattern = Pattern.parse(what)
    if not pattern.is_exact:
        raise DecodeError(
            "not one message", expected="the path of a tag, STREAM:SEQUENCE, a trace id or a traceparent",
            got=repr(what)[:80], code="MS-0580",
        )  # fmt: skip
    subject = pattern.subject_filter(contract_of(kind))
    frames = [f for s in await streams.of_data(with_local=True) for f in await streams.last(s, [subject])]
    if not frames:
        raise NotFoundError(
            "no value is stored for this path", where=what, next_step="list what exists with `millstream tree`"
        )
    return newest(frames)[subject], ()


def _edges_of(frame: StoredFrame) -> list[str]:
    """Of which edge it came: no other one's flows can have taken it."""
    named = _EDGE.match(origin_of(frame)[0])
    return [named[1]] if named is not None else []


async def _at(streams: Streams, stream: str, seq: int) -> StoredFrame | None:
    found = await streams.range(stream, start_seq=seq, count=1)
    return found[0] if found and found[0].seq == seq else None


# -- what it was made of ----------------------------------------------------------------------------------------------


def origin_of(frame: StoredFrame) -> tuple[str, int]:
    """Stream and sequence under which a message was first stored."""
    source = frame.headers.get(SOURCE_HEADER)
    return (frame.stream, frame.seq) if source is None else parse_stream_source(source)


def _input_of(frame: StoredFrame) -> tuple[str, int] | None:
    """Stream and sequence of the message that a flow made this one of; None for no flow, and for a timer."""
    place = frame.headers.get(INPUT_HEADER, "").rsplit(":", 2)
    if len(place) != 3 or place[0] == "tick" or not place[1].isdigit():
        return None
    return place[0].partition("@")[0], int(place[1])


async def _parents(streams: Streams, frame: StoredFrame) -> list[StoredFrame]:
    """What it was made of, the first of all first, as far as it is still there."""
    found: list[StoredFrame] = []
    names = await streams.names()
    for _ in range(PARENTS_MAX):
        place = _input_of(frame)
        if place is None:
            break
        parent = await _at(streams, *place) if place[0] in names else await _by_origin(streams, frame, place)
        if parent is None:
            break
        found.append(parent)
        frame = parent
    return found[::-1]


async def _by_origin(streams: Streams, child: StoredFrame, place: tuple[str, int]) -> StoredFrame | None:
    """At a hub, whose streams have other sequences: among what lies at its place and below, of which built-in flows
    make something, then among all."""
    near = _place_filter(_asset_of(child.subject))
    return await _among(streams, child, place, near) or await _among(streams, child, place, ">")


async def _among(streams: Streams, child: StoredFrame, place: tuple[str, int], subject: str) -> StoredFrame | None:
    """By halves, since each origin's messages are in order. What came from another origin may have come before what it
    was made of."""
    info = await streams.info(child.stream)
    low, high = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
    for _ in range(HALVINGS_MAX):
        if low > high:
            return None
        middle = (low + high) // 2
        of_origin = await _first_of(streams, child.stream, range(middle, high + 1), place[0], subject)
        if not of_origin or origin_of(of_origin[0])[1] > place[1]:
            high = middle - 1
            continue
        found = next((f for f in of_origin if origin_of(f)[1] == place[1]), None)
        if found is not None:
            return found
        low = of_origin[-1].seq + 1
    return None


async def _first_of(streams: Streams, stream: str, seqs: range, origin: str, subject: str) -> list[StoredFrame]:
    """The first page of a stream that has messages of an origin, and those; empty when there is none, or far away."""
    start_seq = seqs.start
    for _ in range(SCAN_MESSAGES_MAX // PAGE_MESSAGES):
        page = await streams.range(stream, start_seq=start_seq, count=PAGE_MESSAGES, subject=subject)
        found = [frame for frame in page if frame.seq < seqs.stop and origin_of(frame)[0] == origin]
        if found or not page or page[-1].seq >= seqs.stop:
            return found
        start_seq = page[-1].seq + 1
    return []


# -- what was made of it ----------------------------------------------------------------------------------------------


async def _made_of(
    streams: Streams, statuses: Sequence[Mapping[str, Any]], frame: StoredFrame, within_ns: int, trace: Trace
) -> list[StoredFrame]:
    """What flows made of a message, and of that, in order of time; it stands behind it, and at a hub, to which both
    came by ways of their own, perhaps a little before. Only subjects that flows write are read."""
    is_forwarded = origin_of(frame) != (frame.stream, frame.seq)
    since_ns = frame.time_ns - (EARLIER_NS if is_forwarded else 0)
    may_be_anywhere = _own_flow_takes(statuses, frame.subject)
    children: dict[tuple[str, int], list[StoredFrame]] = {}
    looked = 0
    names = await streams.of_data()
    written = [_written_by_flows(streams, name, frame.subject, may_be_anywhere) for name in names]
    for stream, (subjects, is_whole) in zip(names, await asyncio.gather(*written), strict=True):
        trace.is_complete &= is_whole
        for subject in subjects:
            async with aclosing(streams.since(stream, subject, since_ns)) as frames:
                async for each in frames:
                    if each.time_ns > frame.time_ns + within_ns:
                        break
                    looked += 1
                    if looked > SCAN_MESSAGES_MAX:
                        trace.is_complete = False
                        break
                    place = _input_of(each)
                    if place is not None:
                        children.setdefault(place, []).append(each)
    return sorted(_all_below(children, origin_of(frame)), key=lambda each: each.time_ns)


def _all_below(
    children: Mapping[tuple[str, int], Sequence[StoredFrame]], first: tuple[str, int]
) -> list[StoredFrame]:  # fmt: skip
    """What was made of the first, of that, and so on; each once."""
    found: dict[tuple[str, int], StoredFrame] = {}
    places = [first]
    for place in places:  # grows while it is gone through
        for child in children.get(place, ()):
            origin = origin_of(child)
            if origin != first and origin not in found:
                found[origin] = child
                places.append(origin)
    return list(found.values())


async def _written_by_flows(
    streams: Streams, stream: str, subject: str, may_be_anywhere: bool
) -> tuple[list[str], bool]:  # fmt: skip
    """Subjects whose newest message is a flow's, and whether there cannot be more that matter. Built-in flows write at
    the place of what they take, or at one above it; a flow of one's own may write elsewhere."""
    asset = _asset_of(subject)
    filters = [f"uns.v1.{'.'.join(asset[: n + 1])}._{kind}.>" for n in range(len(asset)) for kind in FLOW_KINDS]
    is_whole = True
    if may_be_anywhere:
        is_whole = int((await streams.info(stream))["state"].get("num_subjects", 0)) <= SUBJECTS_MAX
        filters = [">"] if is_whole else filters
    known: dict[str, None] = {}
    for page in await asyncio.gather(*(streams.subjects(stream, each) for each in filters)):
        known |= dict.fromkeys(name for name in page if not is_ledger_subject(name))
    names = list(known)[:SUBJECTS_MAX]
    newest_of_each = await streams.last(stream, names)
    return [each.subject for each in newest_of_each if FLOW_HEADER in each.headers], is_whole and len(names) == len(
        known
    )


def _own_flow_takes(statuses: Sequence[Mapping[str, Any]], subject: str) -> bool:
    """By what the nodes say, a flow in a file of its own."""
    try:
        address = decode_subject(subject)
    except DecodeError:
        return False
    inputs = [
        each for node in statuses for flow in node.get("flows") or () if flow.get("type") in OWN_FLOWS
        for each in flow.get("inputs") or ()
    ]  # fmt: skip
    return any(
        contract_of(each["kind"]) == address.contract and Pattern.parse(each["pattern"]).matches(address)
        for each in inputs
    )


def _asset_of(subject: str) -> list[str]:
    """The levels of the place in a subject, as they stand there."""
    tokens = subject.split(".")[2:]
    return list(takewhile(lambda token: not token.startswith("_"), tokens))


def _place_filter(asset: Sequence[str]) -> str:
    return f"uns.v1.{'.'.join(asset)}.>" if asset else ">"


# -- what each says ---------------------------------------------------------------------------------------------------


def _stations(frame: StoredFrame) -> list[Station]:
    here, origin = f"{frame.stream}:{frame.seq}", origin_of(frame)
    path = _path(frame.subject)
    found: list[Station] = []
    flow = frame.headers.get(FLOW_HEADER)
    if flow is not None:
        name, version, partition = flow.split("/")
        place = _input_of(frame)
        said = f"made {path} " + (f"of {place[0]}:{place[1]}" if place is not None else "by a timer")
        found.append(Station(None, f"flow {name}", f"{said} (version {version}, partition {partition})"))
    else:
        found += _beginnings(frame, path)
    if origin != (frame.stream, frame.seq):
        found.append(Station(None, f"{origin[0]}:{origin[1]}", "stored"))
        found.append(Station(frame.time_ns, here, "stored, forwarded"))
    else:
        found.append(Station(frame.time_ns, here, "stored"))
    return found


def _beginnings(frame: StoredFrame, path: str) -> list[Station]:
    """When it happened by the source's clock, and when it was taken."""
    writer = frame.headers.get(WRITER_HEADER)
    taker = f"published by {writer}" if writer is not None else "taken by the edge"
    if "ce-id" in frame.headers:
        time = frame.headers.get("ce-time")
        return [Station(parse_time_ns(time) if time else None, "source", f"{path}: {frame.headers.get('ce-type', '')}")]
    try:
        if frame.headers.get("Content-Type") == ARROW_TYPE:
            block = decode_block(frame.payload)
            said = f"{path}: first of {len(block)} samples"
            return [Station(int(block.time_ns[0]), "source", said), Station(block.ingest_ns or None, "edge", taker)]
        sample = decode_sample(frame.payload)
    except DecodeError:
        return [Station(None, "source", f"{path}: {len(frame.payload)} bytes")]
    said = f"{path} = {str(sample.value)[:60]}"
    source = [Station(sample.timestamp_ns, "source", said)] if sample.timestamp_ns is not None else []
    taken = Station(sample.ingest_ns or None, "edge", taker if source else f"{said}, {taker}")
    return [*source, taken]


def _path(subject: str) -> str:
    try:
        return str(decode_subject(subject).tag)
    except DecodeError:
        return subject


def _further(statuses: Sequence[Mapping[str, Any]], frame: StoredFrame) -> list[Station]:
    """Who has it now, by what the nodes say."""
    found: list[Station] = []
    for node in statuses:
        positions = {p["stream"]: int(p["position"]) for p in (node.get("historian") or {}).get("streams") or ()}
        if positions.get(frame.stream, 0) >= frame.seq:
            found.append(Station(None, f"historian of {node.get('name')}", "in the history"))
        uplink, name = node.get("uplink") or {}, f"E_{node.get('name')}_"
        has_all = uplink.get("state") in ("idle", "flowing") and not uplink.get("behind_messages")
        is_behind_cursor = frame.stream.startswith(f"{name}I") and int(uplink.get("cursor_seq") or 0) >= frame.seq
        if frame.stream.startswith(name) and (has_all or is_behind_cursor):
            found.append(Station(None, "hub", "has it"))
    return found

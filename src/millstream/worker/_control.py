"""What people decided about a flow (paused, replayed, switched to another version), kept in a stream of the node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from millstream.bus import FLOW_CONTROL, RawConnection, StreamApi, StreamConfig, StreamReader, decode_answer
from millstream.config import FlowEntry
from millstream.kernel import ConfigError, DecodeError, FencedError
from millstream.protocols.uns_subject import escape_token

CONTROL_STREAM = FLOW_CONTROL
CONTROL_BYTES_MAX = 16 << 20
CONTROL_SUBJECT = "flow.control."


class FlowControl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest decision. `version` is what runs and stands in what the flow says; `declared` the version in the file
    that it was made for. `start` is where the running version began; `before` (version, partitions) is the one that it
    takes over from. `spoken` are the partitions of this version that may have said something, `spoken_before` those of
    `before`: their state must be there. None: nobody wrote it down. `filters` are what it reads, for a time at which
    nobody runs it."""

    version: int = 1
    declared: int = 1
    partitions: int = 1
    is_paused: bool = False
    start: str = "beginning"
    before: tuple[int, int] | None = None
    spoken: tuple[int, ...] | None = None
    spoken_before: tuple[int, ...] = ()
    filters: tuple[str, ...] = ()


def control_stream() -> StreamConfig:
    """One small message a flow."""
    return {
        "name": CONTROL_STREAM, "subjects": [f"{CONTROL_SUBJECT}>"], "storage": "file", "retention": "limits",
        "max_msgs_per_subject": 1, "max_bytes": CONTROL_BYTES_MAX, "discard": "old", "allow_direct": True,
        "num_replicas": 1,
    }  # fmt: skip


def declared_control(entry: FlowEntry, known: FlowControl | None) -> FlowControl:
    """What runs after the file was read: `known`, or a switch to what the file now says. Raises ConfigError when the
    number of partitions changed within a version: each key would begin anew in another partition."""
    if known is None:
        return FlowControl(
            version=entry.version, declared=entry.version, partitions=entry.partitions, start=entry.start, spoken=()
        )
    if entry.version > known.declared:
        return switched(known, max(known.version + 1, entry.version), entry, start=entry.start)
    if entry.version < known.declared:
        raise ConfigError(
            "the file has an older version of this flow than ran here", where=f"flow {entry.name}",
            expected=f"version {known.declared} or newer", got=str(entry.version),
            next_step="give the changed flow a new version number", code="MS-0706",
        )  # fmt: skip
    if entry.partitions != known.partitions:
        raise ConfigError(
            "the number of partitions changed within a version", where=f"flow {entry.name}",
            expected=str(known.partitions), got=str(entry.partitions),
            next_step="raise 'version' too: the state is then built anew, and nothing is said twice", code="MS-0706",
        )  # fmt: skip
    return known


def refuse_lost(entry: FlowEntry, control: FlowControl, known: FlowControl) -> None:
    """The state of a flow is gone (lost with its stream, or trimmed while the flow was not in the file), but others
    have what it said. Beginning again from old data would say it twice. Raises ConfigError unless the file says to
    begin anew with what is to come."""
    if control.version > known.version and control.start != "beginning":
        return
    raise state_lost(entry.name, known.version)


def state_lost(flow: str, version: int) -> ConfigError:
    """Why a flow is held, and what to do."""
    return ConfigError(
        "the state of this flow is gone, and others have what it said", where=f"flow {flow}",
        got=f"version {version} ran here, and its records are not all left",
        next_step=f"`millstream flow reset {flow}`: it begins with an empty state and says only what is new",
        code="MS-0707",
    )  # fmt: skip


def reset(known: FlowControl, entry: FlowEntry) -> FlowControl:
    """The decision to give the state up: a next version that takes only what comes from now on."""
    version = max(known.version + 1, entry.version)
    fresh = FlowControl(version=version, declared=entry.version, partitions=entry.partitions, start="now", spoken=())
    return msgspec.structs.replace(fresh, is_paused=known.is_paused)


def without_past(control: FlowControl) -> FlowControl:
    """The version begins without looking for what the one before it has said: of that nothing is left."""
    return msgspec.structs.replace(control, before=None, spoken_before=())


def switched(known: FlowControl, version: int, entry: FlowEntry, *, start: str) -> FlowControl:
    """The decision to go on with another version, from `start` on, in silence up to where the old one is. One that has
    said nothing yet leaves no trace: then the one before it is the old one still. Raises ConfigError when some of its
    partitions have begun and some not: nobody could say what is still to be said."""
    if known.before is not None and known.spoken and len(known.spoken) < known.partitions:
        raise ConfigError(
            "the switch to this version is still under way", where=f"flow {entry.name} version {known.version}",
            got=f"{len(known.spoken)} of {known.partitions} partitions have begun",
            next_step="let it run until `millstream flow status` shows all its partitions", code="MS-0706",
        )  # fmt: skip
    before, spoken_before = (known.version, known.partitions), known.spoken or ()
    if known.spoken == () and known.before is not None:
        before, spoken_before = known.before, known.spoken_before
    return msgspec.structs.replace(
        known, version=version, declared=entry.version, partitions=entry.partitions, start=start, before=before,
        spoken=(), spoken_before=spoken_before,
    )  # fmt: skip


def needed_states(control: FlowControl) -> list[tuple[int, int]]:
    """Version and partition of each state that must be there, or something would be said twice."""
    spoken = control.spoken or ()
    found = [(control.version, number) for number in spoken]
    if control.before is not None and len(spoken) < control.partitions:  # the others begin behind the old version
        found += [(control.before[0], number) for number in control.spoken_before]
    return found


class ControlStore:
    """Reads and writes the decisions of one node's flows."""

    def __init__(self, connection: RawConnection, *, patience_s: float = 0.0) -> None:
        self._connection = connection
        self._api = StreamApi(connection, patience_s=patience_s)
        self._reader = StreamReader(connection)

    async def get(self, flow: str) -> tuple[FlowControl | None, int]:
        """The newest decision and its sequence. Raises Unreachable."""
        found = await self._api.last(CONTROL_STREAM, CONTROL_SUBJECT + escape_token(flow))
        return (None, 0) if found is None else (_decode(found.payload), found.seq)

    async def put(self, flow: str, control: FlowControl, expected_seq: int) -> None:
        """Write a decision. Raises FencedError when there is a newer one than was read."""
        subject = CONTROL_SUBJECT + escape_token(flow)
        lines = f"Nats-Expected-Last-Subject-Sequence: {expected_seq}\r\n".encode()
        answer = await self._connection.request(subject, msgspec.json.encode(control), header_lines=lines)
        decode_answer(answer[4], where=subject)

    async def note_spoken(self, flow: str, version: int, partitions: Sequence[int], filters: Sequence[str]) -> None:
        """Before these partitions say anything: write down that they may have. Raises FencedError when another version
        was decided meanwhile, Unreachable."""
        while True:
            known, seq = await self.get(flow)
            if known is None:  # a flow that no node has prepared
                return
            if known.version != version:
                raise FencedError("another version of the flow was decided", where=flow, got=str(known))
            spoken = tuple(sorted({*(known.spoken or ()), *partitions}))
            noted = msgspec.structs.replace(known, spoken=spoken, filters=tuple(filters))
            if noted == known:
                return
            try:
                await self.put(flow, noted, seq)
            except FencedError:
                continue  # another instance has just noted its own
            return

    async def follow(self, flow: str) -> AsyncGenerator[FlowControl, None]:
        """Each decision, the newest there is first."""
        subject = CONTROL_SUBJECT + escape_token(flow)
        async with aclosing(self._reader.read(CONTROL_STREAM, filter_subjects=[subject])) as batches:
            async for batch in batches:
                if batch:
                    yield _decode(batch[-1].payload)


def _decode(payload: bytes) -> FlowControl:
    try:
        return msgspec.json.decode(payload, type=FlowControl)
    except msgspec.DecodeError as error:
        raise DecodeError(f"not a decision about a flow: {error}", got=repr(payload[:80]), code="MS-0701") from error

"""One partition of a flow, as a pure state machine: messages and ticks in, units to commit out.

It reads no clock and does no I/O, so the same code runs under the runner, in `millstream flow test` and in the
simulation. Given the same messages in the same order it makes the same outputs, which is what recovery stands on.

Time. Each key has its own: the newest event time of its events. Before an event is given to the step, the timers that
its time makes due are, in the order of their times. A tick moves the time of silent keys.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic

from millstream.flow._codec import (
    COMMIT_FORMAT,
    INPUT_HEADER,
    Commit,
    Offset,
    OutputEncoder,
    decode_facts,
    header_in,
)
from millstream.flow._effects import check_output
from millstream.flow._facts import BlockFacts, Fact
from millstream.flow._letters import OutputGuard, mark_of, refused_input, rejected_input, stand_in
from millstream.flow._model import (
    KEYS_MAX,
    OUTPUTS_MAX,
    STATE_BYTES_MAX,
    TIMERS_MAX,
    CancelTimer,
    Effect,
    Emit,
    EmitEvent,
    Event,
    Flow,
    Refuse,
    S,
    SetTimer,
)
from millstream.flow._muting import Muting
from millstream.flow._pieces import Pieces
from millstream.flow._places import Mark, is_from, with_mark
from millstream.flow._ports import Rejected
from millstream.flow._sources import ProcessFullError, Source, SourceTable, StepFailedError
from millstream.flow._store import PIECE_MARK, Entry, EntryCodec, KeyStore
from millstream.flow._unit import Counts, Pending, Unit
from millstream.kernel import ConfigError, PlantError
from millstream.protocols.ledger import is_ledger_subject
from millstream.protocols.trace_context import traceparent_in
from millstream.sdk import Message, Received

COMMIT_BYTES_MAX = 512 * 1024  # of changed keys in one state record
CYCLE_KEYS_MIN = 64  # unchanged keys that ride along with each commit while the state is written anew
CYCLE_SLACK = 2  # written entries a live key before that begins
CYCLE_BYTES = 2 << 20  # or so much was said
UNIT_BYTES = 1000  # of the records of a unit, about
NEVER = (2**63, "")
FIRINGS_MAX = 1000  # timers that one event or one tick of a key may fire
CLOCK_SLACK = 100_000
UNIT_OUTPUTS = 590  # from here on a unit goes out; with one more step and two records it fits into a batch of 1000


class FlowCore(Generic[S]):
    """See the module. `created` maps each input stream to the mark of its making (see `StreamFacts`)."""

    def __init__(
        self, flow: Flow[S], store: KeyStore, *, partition: int = 0, partitions: int = 1,
        created: dict[str, str] | None = None, output: str = "",
    ) -> None:  # fmt: skip
        if not 0 <= partition < partitions:
            raise ConfigError("no such partition", where=flow.name, expected=f"0 to {partitions - 1}")
        self.flow = flow
        self.partition = partition
        self.counts = Counts()
        self.arrival_ns = 0
        self._muted: dict[str, int] = {}
        self._muting: Muting | None = None
        self._mark = f"{flow.name}/{flow.version}/{partition}"
        self.guard = OutputGuard(self._mark)
        self._own_mark = f"\r\nMs-Flow: {flow.name}/".encode()
        self._output_stream = output
        self.marks: dict[str, list[Mark]] = {}
        self.working_on: tuple[str, int] | None = None
        self._partitions = partitions
        self._created = created or {}
        self._store = store
        self._codec: EntryCodec[S] = EntryCodec(flow.state_type)
        self._pieces = Pieces(store, flow.piece_type)
        self._encoder = OutputEncoder(self._mark)
        self._sources = SourceTable(flow, partition, partitions)
        self._clock: list[tuple[int, str, str]] = []
        self._clock_max = CLOCK_SLACK
        self._pending = Pending()
        self._offsets: dict[str, Offset] = {}
        self._committed: dict[str, Offset] = {}
        self._has_moved = False
        self._number = self._tick_ns = 0
        self._restore_seq = self._written = 0
        self._cycle: Iterator[str] | None = None
        self._cycle_seq = self._said_bytes = 0
        self._record_seq = 0
        self._torn: dict[str, bytes] = {}
        self._origin = ""
        self._fact = 0
        self._output_index = 0

    # -- restore ------------------------------------------------------------------------------------------------------

    def restore(self, commits: Iterable[tuple[int, Commit]]) -> None:
        """Take back what was committed: (stream sequence, record) in order, from the restore point on."""
        for seq, commit in commits:
            for key, raw in commit.entries:
                if raw is None:
                    self._store.drop(key)
                else:
                    self._store.put(key, raw)
            self._written += len(commit.entries)
            self._offsets = dict(commit.offsets)
            self._number, self._tick_ns = commit.number, commit.tick_ns
            self._restore_seq = commit.restore_seq or seq
            self._record_seq = seq
            self.mute(commit.muted)
            self.marks = {stream: [Mark(*mark) for mark in marks] for stream, marks in commit.marks.items()}
        self._committed = dict(self._offsets)

    def begin(self, torn: Iterable[Received] = ()) -> str | None:
        """After `restore`: `torn` are own outputs that stand behind the newest record, the front of a commit that was
        cut off by a power loss. They are recomputed and not stored again, as what `guard.kept` says is not put into
        quarantine again. Returns the input stream, or "tick:<ns>", that has to be taken first."""
        self._wind()
        first: str | None = None
        for received in torn:
            origin = header_in(received.headers or b"", INPUT_HEADER)
            if origin:
                self._torn[origin] = received.payload
                stream, number, _ = origin.rsplit(":", 2)
                first = first or (f"tick:{number}" if stream == "tick" else stream)
        return first or self.guard.first_tick()

    def _wind(self) -> None:
        """Build the clock from the timers of all keys."""
        self._clock = []
        for key in self._store.all_keys():
            raw = self._store.get(key) if PIECE_MARK not in key else None
            if raw is not None:
                self._clock += [(at_ns, key, name) for name, at_ns in self._codec.timers(raw).items()]
        heapq.heapify(self._clock)
        self._clock_max = 2 * len(self._clock) + CLOCK_SLACK

    def position(self, stream: str) -> int:
        """The last sequence of an input stream that was taken; 0 before the first. A stream that was made anew begins
        at its beginning."""
        return self._offset(stream).seq

    def _offset(self, stream: str) -> Offset:
        found = self._offsets.get(stream)
        created = self._created.get(stream, found.created if found is not None else "")
        return found if found is not None and found.created == created else Offset(created)

    def start_at(self, stream: str, seq: int) -> None:
        """Leave out everything before `seq` of a stream that this flow has not read yet."""
        if stream not in self._offsets:
            self._offsets[stream] = Offset(self._created.get(stream, ""), seq - 1)

    # -- taking over from an older version ----------------------------------------------------------------------------

    def mute(self, muted: Mapping[str, int]) -> None:
        """Say nothing about what `muted` covers; an empty one ends it."""
        self._muted = dict(muted)
        self._muting = Muting(muted) if muted else None

    @property
    def is_muted(self) -> bool:
        """True while this version has not come to where the older one ended."""
        return self._muting is not None

    def settling_ns(self) -> int | None:
        """When all inputs were read as far as the older version has: up to where its timers have fired. Fire them (they
        stay silent), then `mute({})`. None: not yet, or not muted."""
        if self._muting is None:
            return None
        streams = list(self._created) or list(self._offsets)
        positions = {stream: self.position(stream) for stream in streams}
        return None if self._muting.is_behind(positions, streams) else self._muting.tick_ns

    def read_up_to(self, stream: str, last: Received) -> None:
        """All of a stream that others fill was taken up to `last`, each message by its origin."""
        mark = Mark(last.seq, last.stored_time_ns // 1000)
        self.marks[stream] = with_mark(self.marks.get(stream, ()), mark)
        self._offsets[stream] = Offset(self._created.get(stream, ""), last.seq)

    # -- inputs -------------------------------------------------------------------------------------------------------

    def feed(self, stream: str, received: Received) -> bool:
        """Take one message; a repeat of what was taken is ignored. False when the unit is full before all of it is
        taken: commit, then feed the same message again. Raises ProcessFullError when a step has no memory; what was
        taken before can be committed."""
        offset = self._offset(stream)
        if received.seq <= offset.seq:
            return True
        created = offset.created
        if is_ledger_subject(received.subject) or self._is_own(stream, received.headers):
            # Records, and what it said itself, are no input. They are no reason either to write the position down: that
            # would make a record, which comes back here.
            self._offsets[stream] = Offset(created, received.seq)
            return True
        self._has_moved = True
        try:
            source = self._sources.find(received.subject)
        except StepFailedError as error:
            if self.partition == 0:  # nobody knows whose it is, so one of them tells
                self.working_on = (stream, received.seq)
                self._reject(received, 0, error)
            self._offsets[stream] = Offset(created, received.seq)
            return True
        if source is None or not (source.is_mine or self.flow.regroup):
            self._offsets[stream] = Offset(created, received.seq)
            return True
        if offset.seq == received.seq - 1:
            done, self._output_index = offset.facts, offset.outputs
        else:
            done, self._output_index = 0, 0
        if not done:
            self.counts.messages += 1
        self.arrival_ns = max(self.arrival_ns, received.stored_time_ns)
        self._origin = f"{stream}:{received.seq}"
        self._encoder.traceparent = traceparent_in(received.headers)
        self.working_on = (stream, received.seq)
        try:
            facts = decode_facts(source.kind, received, is_run=self.flow.can_absorb)
        except PlantError as error:
            self._reject(received, 0, error)
            facts = ()
        index = done
        while index < len(facts):
            index += self._absorb(source, facts, index)
            if index >= len(facts):
                break
            self._fact = index  # what was not absorbed begins with one for the step
            try:
                is_taken = not self.is_full and self._take(source, facts[index], received)
            except ProcessFullError:
                self._offsets[stream] = Offset(created, received.seq - 1, index, self._output_index)
                raise
            except PlantError as error:
                self._reject(received, index, error)
                is_taken = True
            if not is_taken:
                self._offsets[stream] = Offset(created, received.seq - 1, index, self._output_index)
                return False
            index += 1
        self._offsets[stream] = Offset(created, received.seq)
        self.working_on = None
        return True

    def _is_own(self, stream: str, headers: bytes | None) -> bool:
        """A flow of the same name at another node is another flow; without a stream's name every stream is its own."""
        if headers is None or self._own_mark not in headers:
            return False
        return not self._output_stream or is_from(stream, self._output_stream)

    def tick(self, now_ns: int) -> None:
        """Fire timers that are due at `now_ns`, the event time of silent keys, until the unit is full. It goes into a
        unit of its own; call it until `timer_due` is false."""
        now_ns = max(now_ns, self._tick_ns + 1)
        self._tick_ns = now_ns
        self._origin, self._output_index = f"tick:{now_ns}", 0
        self._encoder.traceparent = ""
        self.arrival_ns = max(self.arrival_ns, now_ns)
        self.working_on = ("tick", now_ns)
        for _ in range(FIRINGS_MAX):
            if not self.timer_due(now_ns) or self.is_full:
                break
            at_ns, key, name = heapq.heappop(self._clock)
            raw = self._store.get(key)
            if raw is not None:
                entry = self._codec.decode(raw)
                if entry.timers.get(name) == at_ns:
                    self._fire(key, entry, name, at_ns, now_ns)
        self.working_on = None

    def timer_due(self, now_ns: int) -> bool:
        """True when `tick` would do something."""
        return bool(self._clock) and self._clock[0][0] <= now_ns

    # -- units --------------------------------------------------------------------------------------------------------

    @property
    def pending_messages(self) -> int:
        """Outputs that are not committed yet."""
        return len(self._pending.messages)

    @property
    def is_worth_a_commit(self) -> bool:
        """Something changed, beside the position."""
        return bool(self._pending.messages or self._pending.changed or self._pending.rejected)

    @property
    def has_moved(self) -> bool:
        """The position changed since the last unit."""
        return self._has_moved

    @property
    def is_full(self) -> bool:
        """The unit should go out before more is taken."""
        pending = self._pending
        return len(pending.messages) >= UNIT_OUTPUTS or pending.bytes >= COMMIT_BYTES_MAX // 2

    def take(self) -> Unit:
        """All that is pending, as one unit; the core goes on with the next."""
        pending, self._pending = self._pending, Pending()
        self._number += 1
        if len(self._clock) > self._clock_max:  # most are of timers that were moved
            self._wind()
        entries = [(key, self._store.get(key)) for key in pending.changed]
        self._said_bytes += UNIT_BYTES + sum(len(message.payload) + UNIT_BYTES // 2 for message in pending.messages)
        self._roll(entries, pending.changed)
        self._written += len(entries)
        self._committed = dict(self._offsets)
        self._has_moved = False
        commit = Commit(
            COMMIT_FORMAT,
            self._number,
            self._committed,
            self._tick_ns,
            self._restore_seq,
            entries,
            self._muted,
            marks={stream: [(mark.seq, mark.time_us) for mark in marks] for stream, marks in self.marks.items()},
        )
        return Unit(pending.messages, commit, pending.rejected)

    def committed(self, seq: int) -> None:
        """The newest unit's state record stands at `seq` of the output stream."""
        self._record_seq = seq
        if not self._restore_seq:
            self._restore_seq = seq

    @property
    def torn_count(self) -> int:
        """Outputs of a torn commit that were not made again yet."""
        return len(self._torn)

    @property
    def restore_seq(self) -> int:
        """State records before this sequence are not needed any more."""
        return self._restore_seq

    @property
    def keys_count(self) -> int:
        """Keys with state."""
        return len(self._store) - self._store.pieces_count

    @property
    def offsets(self) -> dict[str, Offset]:
        """How far each input stream was taken."""
        return dict(self._offsets)

    def begin_cycle(self) -> None:
        """Write all keys anew with the next units, so that what stands before them is not needed any more."""
        if self._cycle is None:
            self._cycle, self._cycle_seq = iter(self._store.all_keys()), self._record_seq + 1
            self._written = self._said_bytes = 0

    @property
    def is_cycling(self) -> bool:
        """That is under way."""
        return self._cycle is not None

    def _roll(self, entries: list[tuple[str, bytes | None]], changed: dict[str, None]) -> None:
        """Let unchanged keys ride along, so that old records need not be kept for them."""
        if self._cycle is None:
            is_long = self._written >= CYCLE_SLACK * len(self._store) + 1000
            if not self._record_seq or not (is_long or self._said_bytes > CYCLE_BYTES + 4 * self._store.hot_bytes):
                return
            self.begin_cycle()
        assert self._cycle is not None
        size = sum(len(raw or b"") for _, raw in entries)
        for _ in range(max(CYCLE_KEYS_MIN, 2 * len(entries))):
            key = next(self._cycle, None)
            if key is None:
                self._cycle = None
                self._restore_seq = self._cycle_seq
                return
            raw = self._store.get(key)
            if raw is not None and key not in changed:
                entries.append((key, raw))
                size += len(raw)
            if size >= COMMIT_BYTES_MAX // 2:
                return

    # -- one event ----------------------------------------------------------------------------------------------------

    def _take(self, source: Source, fact: Fact, received: Received) -> bool:
        """One sample. False when its timers have filled the unit; it is then taken again from the start."""
        time_ns, value, quality, unit, type_ = fact
        key = source.key
        if self.flow.regroup is not None:
            event = Event(key, source.kind, time_ns, value, quality, source.text, type=type_)
            found = self._sources.regrouped(source, event)
            if found is None:
                return True
            key = found
        entry = self._entry(key)
        lateness_ns = self.flow.time.lateness_ns
        if entry.timers and time_ns > entry.newest_ns:
            for _ in range(FIRINGS_MAX):
                at_ns, name = min((at_ns, name) for name, at_ns in entry.timers.items()) if entry.timers else NEVER
                if at_ns > time_ns - lateness_ns:
                    break
                if self.is_full:
                    return False
                self._fire(key, entry, name, at_ns, received.stored_time_ns)
                entry = self._entry(key)
            else:
                raise StepFailedError(
                    "timers set each other without end", where=f"{self.flow.name} key {key}",
                    expected=f"at most {FIRINGS_MAX} for one event", code="MS-0704",
                )  # fmt: skip
            if self.is_full:  # the last timer has left no room for the event itself
                return False
        is_late = time_ns < entry.newest_ns - lateness_ns
        self.counts.events += 1
        self.counts.late += is_late
        pieces = self._pieces.of(key)
        event = Event(key, source.kind, time_ns, value, quality, source.text, is_late, "", type_, unit, pieces)
        self._run(key, entry, event, received.stored_time_ns)
        return True

    def _absorb(self, source: Source, facts: Sequence[Fact], index: int) -> int:
        """Samples of a block that change the state only, all at once; how many. 0: the step takes the next one."""
        absorb, key = self.flow.absorb, source.key
        if absorb is None or not isinstance(facts, BlockFacts) or self.is_full:
            return 0
        try:
            entry = self._entry(key)
            run = facts.run(key, source.text, index, entry.newest_ns) if not entry.timers else None
            count = absorb(entry.state, run) if run is not None else 0
            if run is None or not count:
                return 0
            raw = self._encoded(key, Entry(entry.timers, int(run.time_ns[count - 1]), entry.state))
        except Exception:  # noqa: BLE001 - the step gets each of them and says which one it is
            return 0
        self._changed(key, raw)
        self.counts.events += count
        return count

    def _entry(self, key: str) -> Entry[S]:
        raw = self._store.get(key)
        if raw is not None:
            return self._codec.decode(raw)
        if self.keys_count >= KEYS_MAX:
            raise StepFailedError("too many keys", where=self.flow.name, expected=f"at most {KEYS_MAX}", code="MS-0704")
        return Entry({}, 0, self.flow.initial())

    def _fire(self, key: str, entry: Entry[S], name: str, at_ns: int, arrival_ns: int) -> None:
        """One timer of `entry`; a step that raises is not called for it again."""
        self.counts.timers += 1
        before = self._store.get(key)
        del entry.timers[name]
        self._changed(key, self._codec.encode(entry))
        try:
            self._run(key, entry, Event(key, "timer", at_ns, timer=name, pieces=self._pieces.of(key)), arrival_ns)
        except ProcessFullError:
            assert before is not None
            self._changed(key, before)
            heapq.heappush(self._clock, (at_ns, key, name))
            raise
        except PlantError as error:
            seq = self.working_on[1] if self.working_on else 0
            mark = mark_of(key, name, at_ns)
            self._reject(Received(f"timer/{key}/{name}", b"", None, seq, at_ns), mark, error)

    def _run(self, key: str, entry: Entry[S], event: Event, arrival_ns: int) -> None:
        """Call the step; nothing of it counts unless all of it is sound."""
        before = entry.timers
        try:
            state, effects = self.flow.step(entry.state, event)
        except (ProcessFullError, StepFailedError):  # the second: of a module, which says itself what it was
            raise
        except Exception as error:  # the user's code; its input is kept and told, the others go on
            code = "MS-0703" if isinstance(error, TimeoutError) else None
            code = "MS-0704" if isinstance(error, MemoryError) else code
            raise StepFailedError(
                f"step raised {type(error).__name__}: {error}", where=self._where(key), code=code
            ) from error  # fmt: skip
        refused: list[Rejected] = []
        messages, timers = self._apply(key, before, effects, arrival_ns, refused) if effects else ((), before)
        newest_ns = event.time_ns if event.time_ns > entry.newest_ns else entry.newest_ns
        raw = None if state is None else self._encoded(key, Entry(timers, newest_ns, state))
        pieces = [(n, None if p is None else self._encoded(key, p)) for n, p in self._pieces.changes()]
        for name, piece in (*pieces, (key, raw)):
            self._changed(name, piece)
        if state is not None and timers is not before:
            for name, at_ns in timers.items():
                if before.get(name) != at_ns:
                    heapq.heappush(self._clock, (at_ns, key, name))
        for effect, message in messages:
            self._output(effect, message, key, event.time_ns if event.is_timer else None)
        for rejected in refused:
            self._keep(rejected)

    def _where(self, key: str) -> str:
        return f"{self.flow.name} key {key}"

    def _encoded(self, key: str, entry: Any) -> bytes:
        """An entry, or a piece."""
        try:
            raw = self._codec.encode(entry)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise StepFailedError(f"state cannot be stored: {error}", where=self._where(key)) from error
        if len(raw) > STATE_BYTES_MAX:
            raise StepFailedError(
                "state of one key grows too large", where=self._where(key), expected=f"at most {STATE_BYTES_MAX} bytes",
                got=str(len(raw)), code="MS-0704",
            )  # fmt: skip
        return raw

    def _changed(self, key: str, raw: bytes | None) -> None:
        pending = self._pending
        if raw is None:
            if self._store.get(key) is not None:
                self._store.drop(key)
                pending.changed[key] = None
            return
        self._store.put(key, raw)
        if key not in pending.changed:
            pending.changed[key] = None
            pending.bytes += len(raw) + len(key)

    def _apply(
        self, key: str, before: dict[str, int], effects: Sequence[Effect], arrival_ns: int, refused: list[Rejected]
    ) -> tuple[list[tuple[Emit | EmitEvent, Message]], dict[str, int]]:
        timers = dict(before)
        messages: list[tuple[Emit | EmitEvent, Message]] = []
        for effect in effects:
            if isinstance(effect, (Emit, EmitEvent)):
                check_output(effect, self.flow.outputs, self._where(key))
                origin = f"{self._origin}:{self._output_index + len(messages)}"
                messages.append((effect, self._encoder.encode(effect, origin, arrival_ns)))
            elif isinstance(effect, SetTimer):
                timers[effect.name] = int(effect.at_ns)
            elif isinstance(effect, CancelTimer):
                timers.pop(effect.name, None)
            elif isinstance(effect, Refuse):
                place = self.working_on or ("", 0)
                refused.append(refused_input(self._mark, key, effect, place, arrival_ns))
            else:
                raise StepFailedError("not an effect", where=self._where(key), got=repr(effect)[:80])
        if len(messages) > OUTPUTS_MAX or len(timers) > TIMERS_MAX:
            raise StepFailedError(
                "too much for one step", where=self._where(key),
                expected=f"at most {OUTPUTS_MAX} outputs and {TIMERS_MAX} timers",
                got=f"{len(messages)} and {len(timers)}", code="MS-0704",
            )  # fmt: skip
        return messages, timers

    def _is_muted(self, muting: Muting, key: str, timer_ns: int | None) -> bool:
        stream, _, seq = self._origin.rpartition(":")
        if stream != "tick" and muting.mutes(key, stream, int(seq), self._fact):
            return True
        return timer_ns is not None and muting.mutes_timer(key, timer_ns)

    def _output(self, effect: Emit | EmitEvent, message: Message, key: str, timer_ns: int | None) -> None:
        origin = f"{self._origin}:{self._output_index}"
        self._output_index += 1
        if self._torn and self._torn.pop(origin, None) is not None:
            self.counts.repeated_outputs += 1
            return
        if self._muting is not None and self._is_muted(self._muting, key, timer_ns):
            return
        if self.guard.is_on:
            violation = self.guard.find(effect, message.subject, origin)
            if violation is not None:
                self.counts.broken += 1
                self._put_apart(self.guard.letter(message, origin, violation, self.arrival_ns))
                if isinstance(effect, EmitEvent):
                    return
                message = self._encoder.encode(stand_in(effect, violation), origin, self.arrival_ns)
        self.counts.outputs += 1
        self._pending.messages.append(message)

    def _reject(self, received: Received, index: int, error: PlantError) -> None:
        stream = self.working_on[0] if self.working_on else ""
        self._keep(rejected_input(self._mark, stream, received, index, error))

    def _keep(self, rejected: Rejected) -> None:
        self.counts.rejected += 1
        self._put_apart(rejected)

    def _put_apart(self, rejected: Rejected) -> None:
        if rejected.id not in self.guard.kept:
            self._pending.rejected.append(rejected)
            self._pending.bytes += len(rejected.received.payload)

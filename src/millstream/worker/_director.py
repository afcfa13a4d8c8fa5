"""The node's side of all its flows: their decisions, their workers, what people ask and are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.bus import START_PATIENCE_S, RawConnection, ServerAlarm, StreamApi, ensure_stream, find_stream
from millstream.config import FlowEntry
from millstream.kernel import Clock, ConfigError, FencedError, NotFoundError, PlantError, suggest
from millstream.model import AssetPath
from millstream.protocols.audit import act_data
from millstream.protocols.cloudevents import parse_time_ns
from millstream.sdk import Log
from millstream.worker._beats import Beat, BeatListener, send_gone, silence_ns
from millstream.worker._control import (
    ControlStore,
    FlowControl,
    control_stream,
    declared_control,
    needed_states,
    refuse_lost,
    reset,
    switched,
    without_past,
)
from millstream.worker._flow_audit import OUTCOMES, TellFlow, flow_teller, shown_control
from millstream.worker._holds import CODE, Hold, HoldAlarms, hold_text, holds_of
from millstream.worker._lag import flow_lag
from millstream.worker._names import floor_of, is_born, state_subject
from millstream.worker._needs import is_state_lost, newest_commits, unread_seq
from millstream.worker._supervisor import CRASHES_BEFORE_ALARM, FlowSupervisor, Surroundings

HOLD_LOOK_S = 5.0
DECIDE_TRIES_MAX = 10  # each instance notes itself once a version


@dataclass(slots=True)
class _Managed:
    """One configured flow."""

    entry: FlowEntry
    supervisor: FlowSupervisor
    control: FlowControl
    reports: dict[str, tuple[int, Mapping[str, Any]]]
    refusal: ConfigError | None = None
    since_ns: int = 0
    holds: Sequence[Hold] = ()
    commands: Sequence[Mapping[str, Any]] | None = None  # as an instance told last; None: none has spoken yet


class FlowDirector:
    """All flows of one node. Order of use: `prepare` once the streams are there, `run` in the node's task group,
    `stop` before the server goes."""

    def __init__(
        self, entries: Sequence[FlowEntry], around: Surroundings, connection: RawConnection, *, clock: Clock, log: Log,
        tell: TellFlow | None = None,
    ) -> None:  # fmt: skip
        """`tell` stores what the audit says; left out, it stands at the place of the flows' records."""
        self._around = around
        self._connection = connection
        self._clock = clock
        self._log = log
        self._tell = tell or flow_teller(connection, around.node, lambda: around.place, clock)
        self._api = StreamApi(connection)
        self._store = ControlStore(connection)
        self._flows = {e.name: _Managed(e, self._supervisor(e), FlowControl(), {}) for e in entries}
        self._held = HoldAlarms(clock, log)
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    def _supervisor(self, entry: FlowEntry) -> FlowSupervisor:
        def on_end(instance: str) -> None:
            send_gone(self._connection, entry.name, instance)

        return FlowSupervisor(entry, self._around, clock=self._clock, log=self._log, on_end=on_end)

    async def prepare(self) -> None:
        """Bring the decisions up to what the file says now. Raises Unreachable."""
        api = StreamApi(self._connection, patience_s=START_PATIENCE_S)
        await ensure_stream(api, control_stream())
        store = ControlStore(self._connection, patience_s=START_PATIENCE_S)
        for name, flow in self._flows.items():
            known, seq = await store.get(name)
            try:
                flow.control = declared_control(flow.entry, known)
                if known is not None and await self._is_lost(api, name, known):
                    refuse_lost(flow.entry, flow.control, known)
                    flow.control = without_past(flow.control)
            except ConfigError as error:
                flow.refusal, flow.since_ns = error, self._clock.now_ns()
                self._log.error("flow is not started", flow=name, error=str(error))
                continue
            if flow.control != known:
                await store.put(name, flow.control, seq)

    async def _is_lost(self, api: StreamApi, name: str, known: FlowControl) -> bool:
        """True when the state of partitions that have spoken is not there, or not all of it: the flows' stream was
        begun anew, or was trimmed while the flow was not in the file."""
        needed = needed_states(known)
        if known.spoken is None and self._around.generation > 1:  # a decision from before that was written down
            needed = [(known.version, number) for number in range(known.partitions)]
        subjects = [s for version, number in needed for s in self._subjects(name, version, [number])]
        return await is_state_lost(api, self._around.output, subjects)

    def _subjects(self, name: str, version: int, partitions: Iterable[int]) -> list[str]:
        place, node = AssetPath.parse(self._around.place), self._around.node
        return [state_subject(place, node, name, version, number) for number in partitions]

    async def run(self) -> None:
        """Until `stop`."""
        with ExitStack() as stack:
            for name, flow in self._flows.items():
                stack.callback(BeatListener(self._connection, name, self._taker(flow)).close)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch_holds(), name="flows that hold streams")
                started: set[str] = set()
                while not self._stopping.is_set():
                    self._wake.clear()
                    for name, flow in self._flows.items():
                        if flow.refusal is None and name not in started:
                            started.add(name)
                            group.create_task(flow.supervisor.run(), name=f"flow {name}")
                    await self._wake.wait()
                watch.cancel()

    def stop(self) -> None:
        """Let all workers finish what they have; `run` then returns."""
        self._stopping.set()
        self._wake.set()
        for flow in self._flows.values():
            flow.supervisor.stop()

    # -- what flows keep streams from forgetting ----------------------------------------------------------------------

    async def _watch_holds(self) -> None:
        while True:
            with contextlib.suppress(PlantError):  # the server restarts: asked again
                await self._look_for_holds()
            await self._clock.sleep(HOLD_LOOK_S)

    async def _look_for_holds(self) -> None:
        streams = (self._around.inputs, self._around.output)
        for name, flow in self._flows.items():
            reason, next_step = self._why_idle(flow)
            holds: Sequence[Hold] = ()
            if reason:
                subjects, filters = await self._needed_by(name, flow)
                holds = await holds_of(self._api, streams, subjects, filters)
            flow.holds = holds
            self._held.note(name, hold_text(name, reason, next_step, flow.holds))

    def _why_idle(self, flow: _Managed) -> tuple[str, str]:
        """Why nobody runs a flow, and what to do; empty when somebody does, or should."""
        name = flow.entry.name
        if flow.refusal is not None:
            return f"is refused ({flow.refusal.code})", flow.refusal.next_step or "see its alarm"
        if flow.control.is_paused:
            return "is paused", f"`millstream flow resume {name}`, or take it out of the file"
        if not flow.entry.instances and not self._fresh_reports(flow):
            run = f"`millstream flow run -c FILE --flow {name}`"
            return "has no instance ('instances: 0')", f"start one by {run}, or set 'instances: 1'"
        return "", ""

    async def _needed_by(self, name: str, flow: _Managed) -> tuple[list[str], Sequence[str]]:
        """The state records of the version that runs, and of the one before it until it is born; what it reads."""
        known, _ = await self._store.get(name)
        control = known or flow.control
        subjects = self._subjects(name, control.version, range(control.partitions))
        if control.before is not None:
            place, node = AssetPath.parse(self._around.place), self._around.node
            whole = (name, control.version, control.partitions)
            if not await is_born(self._api, self._around.output, place, node, whole):
                subjects += self._subjects(name, control.before[0], range(control.before[1]))
        return subjects, control.filters

    async def input_floor(self, stream: str) -> int | None:
        """The first message of a stream of sources that a flow has still to read; None: none. Raises PlantError."""
        info = await find_stream(self._api, stream)
        found: list[int] = []
        for name, flow in self._flows.items():
            if info is not None:
                subjects, filters = await self._needed_by(name, flow)
                commits = await newest_commits(self._api, self._around.output, subjects)
                seq = await unread_seq(self._api, info, commits, filters)
                found += [seq] if seq is not None else []
        return min(found, default=None)

    def _taker(self, flow: _Managed) -> Callable[[Beat], None]:
        def take(beat: Beat) -> None:
            flow.reports.pop(beat.instance, None)
            if not beat.is_gone:
                flow.reports[beat.instance] = (self._clock.monotonic_ns(), beat.report)
                flow.commands = beat.report.get("commands", ())

        return take

    async def floor(self) -> int:
        """From which sequence on the flows' stream is needed to find the states again. What flows have still to read
        there does not hold it: they could not write, and so not read on, once it was full. Raises PlantError."""
        subjects: list[str] = []
        for name, flow in self._flows.items():
            subjects += (await self._needed_by(name, flow))[0]
        return await floor_of(self._api, self._around.output, subjects)

    # -- what people ask ----------------------------------------------------------------------------------------------

    async def answer(self, request: bytes, origin: str = "") -> object:
        """One request of `millstream flow`: {"action": ..., "flow": ..., "who": ...}, from an address as the server
        tells it. Errors are told in the answer."""
        try:
            raw = msgspec.json.decode(request or b"{}", type=dict[str, Any])
            raw["origin"] = origin
            return await self._act(str(raw.get("action", "list")), raw)
        except msgspec.DecodeError as error:
            return {"error": ConfigError(f"not a request: {error}").as_dict()}
        except PlantError as error:
            return {"error": error.as_dict()}

    async def _act(self, action: str, raw: Mapping[str, Any]) -> object:
        if action == "list":
            return {"flows": self.status()}
        actions: dict[str, Callable[[_Managed, Mapping[str, Any]], Awaitable[object]]] = {
            "status": self._one, "lag": self._lag, "pause": self._pause, "resume": self._resume, "replay": self._replay,
            "reset": self._reset,
        }  # fmt: skip
        if action not in actions:
            raise ConfigError("unknown action", expected=", ".join(actions), got=repr(action)[:60])
        return await actions[action](self._find(str(raw.get("flow", ""))), raw)

    def _find(self, name: str) -> _Managed:
        if name not in self._flows:
            near = suggest(name, self._flows)
            raise NotFoundError(
                "no such flow at this node", got=repr(name)[:60],
                next_step=f"did you mean '{near}'?" if near else "`millstream flow list` shows them",
            )  # fmt: skip
        return self._flows[name]

    async def _one(self, flow: _Managed, _: Mapping[str, Any]) -> object:
        around = self._around
        where = {
            "node": around.node, "place": around.place, "inputs": around.inputs, "output": around.output,
            "deadletters": around.deadletters, "has_origins": around.has_origins,
        }  # fmt: skip
        return {**self._flow_status(flow), "around": where}

    async def _lag(self, flow: _Managed, _: Mapping[str, Any]) -> object:
        place = AssetPath.parse(self._around.place)
        filters = next((r["filters"] for _, r in flow.reports.values() if "filters" in r), None)
        control = flow.control
        subjects = {
            number: state_subject(place, self._around.node, flow.entry.name, control.version, number)
            for number in range(control.partitions)
        }
        streams = (self._around.inputs, self._around.output)
        taken = {
            part["partition"]: part["offsets"]
            for _, report in flow.reports.values() if report.get("version") == control.version
            for part in report.get("partitions", ())
        }  # fmt: skip
        lags = await flow_lag(self._api, streams, subjects, filters or (), taken, self._clock.now_ns())
        return {"flow": flow.entry.name, "version": control.version, "partitions": lags}

    async def _pause(self, flow: _Managed, raw: Mapping[str, Any]) -> object:
        return await self._decide(flow, raw, lambda known: msgspec.structs.replace(known, is_paused=True))

    async def _resume(self, flow: _Managed, raw: Mapping[str, Any]) -> object:
        return await self._decide(flow, raw, lambda known: msgspec.structs.replace(known, is_paused=False))

    async def _replay(self, flow: _Managed, raw: Mapping[str, Any]) -> object:
        start = str(raw.get("from", "beginning"))
        if start not in ("beginning", "now"):
            parse_time_ns(start)
        return await self._decide(flow, raw, lambda known: switched(known, known.version + 1, flow.entry, start=start))

    async def _reset(self, flow: _Managed, raw: Mapping[str, Any]) -> object:
        name = flow.entry.name
        known, _seq = await self._store.get(name)
        if known is None or not await self._is_lost(self._api, name, known):
            raise ConfigError(
                "this flow has its state", where=f"flow {name}", expected="a flow that is held with MS-0707",
                next_step="`millstream flow replay` works its state out anew and says nothing twice", code="MS-0706",
            )  # fmt: skip
        decided = await self._decide(flow, raw, lambda now: reset(now, flow.entry))
        flow.refusal = None
        self._wake.set()
        return decided

    async def _decide(
        self, flow: _Managed, raw: Mapping[str, Any], change: Callable[[FlowControl], FlowControl]
    ) -> object:  # fmt: skip
        """Store a decision, then tell it: killed between, it stands in the stream of decisions all the same."""
        for attempt in range(DECIDE_TRIES_MAX):
            known, seq = await self._store.get(flow.entry.name)
            decided = change(known or flow.control)
            if decided == known:
                break
            try:
                await self._store.put(flow.entry.name, decided, seq)
            except FencedError:  # an instance has just noted that it speaks
                if attempt == DECIDE_TRIES_MAX - 1:
                    raise
                continue
            self._log.info("decision about a flow", flow=flow.entry.name, **msgspec.to_builtins(decided))
            await self._told(flow, raw, known or flow.control, decided)
            break
        flow.control = decided
        return {"flow": flow.entry.name, **msgspec.to_builtins(decided)}

    async def _told(
        self, flow: _Managed, raw: Mapping[str, Any], before: FlowControl, after: FlowControl
    ) -> None:  # fmt: skip
        who = str(raw.get("who") or "unknown")[:128]
        data = act_data(
            who, raw["origin"], shown_control(before), shown_control(after), flow=flow.entry.name,
            node=self._around.node,
        )  # fmt: skip
        try:
            await self._tell(OUTCOMES[str(raw["action"])], data)
        except PlantError as error:  # the decision stands: what people asked for is done
            self._log.warning("the audit was not told of a decision", flow=flow.entry.name, error=str(error))

    # -- commands of flows --------------------------------------------------------------------------------------------

    @property
    def output(self) -> str:
        """The stream that the flows write to."""
        return self._around.output

    def commands(self) -> dict[str, Sequence[Mapping[str, Any]] | None]:
        """What each flow may be told, as its instances say (see `told_of`); None for a flow that may have commands, and
        of which no instance has spoken yet."""
        return {
            name: flow.commands for name, flow in self._flows.items()
            if flow.entry.python is not None and flow.refusal is None
        }  # fmt: skip

    def is_paused(self, name: str) -> bool:
        """Whether a flow takes nothing now."""
        return name in self._flows and self._flows[name].control.is_paused

    # -- what others see ----------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """Every flow as the node's status shows it."""
        return [self._flow_status(flow) for flow in self._flows.values()]

    def _flow_status(self, flow: _Managed) -> dict[str, Any]:
        entry, control = flow.entry, flow.control
        reports = [report for _, report in self._fresh_reports(flow).values()]
        parts = [p for report in reports if report.get("version") == control.version for p in report["partitions"]]
        running = {part["partition"] for part in parts}
        state = "refused" if flow.refusal else "paused" if control.is_paused else "running"
        if state == "running" and len(running) < control.partitions:
            state = "starting" if not running else "partly"
            if not entry.instances and not flow.reports:
                state = "no instance"
        if state == "running" and any(part.get("is_muted") for part in parts):
            state = "catching up"
        return {
            "name": entry.name, "type": entry.type or "python", "state": state, "version": control.version,
            "inputs": [{"pattern": i.pattern, "kind": i.kind} for i in entry.inputs],
            "partitions_count": control.partitions, "output": self._around.output,
            "instances": [
                {"instance": name, "version": report.get("version"), "is_paused": bool(report.get("is_paused")),
                 "partitions_count": len(report.get("partitions", ()))}
                for name, (_, report) in sorted(flow.reports.items())
            ],
            "rejected": sum(part.get("rejected", 0) for part in parts),
            "broken": sum(part.get("broken", 0) for part in parts),
            "partitions": sorted(
                ({**part, "instance": name} for name, (_, report) in flow.reports.items()
                 for part in report.get("partitions", ())),
                key=lambda part: part["partition"],
            ),
            "workers": flow.supervisor.status(),
            "holds": [hold.as_dict() for hold in flow.holds],
        }  # fmt: skip

    def _fresh_reports(self, flow: _Managed) -> dict[str, tuple[int, Mapping[str, Any]]]:
        fresh_ns = self._clock.monotonic_ns() - silence_ns(flow.entry.step_timeout)
        flow.reports = {name: found for name, found in flow.reports.items() if found[0] >= fresh_ns}
        return flow.reports

    @property
    def alarms(self) -> list[ServerAlarm]:
        """What a person should know now."""
        found = []
        for name, flow in self._flows.items():
            if flow.refusal is not None:
                found.append(ServerAlarm(flow.refusal.code, str(flow.refusal), flow.since_ns))
            for worker in flow.supervisor.workers:
                if worker.crashes >= CRASHES_BEFORE_ALARM or (worker.crashes and worker.is_hopeless):
                    text = f"flow {name}: worker {worker.index} ended {worker.crashes} times: {worker.text}"
                    found.append(ServerAlarm("MS-0705", text, worker.since_ns))
            found += self._quarantine_alarms(name, flow)
        return [*found, *(ServerAlarm(CODE, text, since_ns) for text, since_ns in self._held.active)]

    def _quarantine_alarms(self, name: str, flow: _Managed) -> list[ServerAlarm]:
        parts = [part for _, report in flow.reports.values() for part in report.get("partitions", ())]
        found = []
        if count := sum(part.get("rejected", 0) for part in parts):
            text = f"flow {name}: {count} inputs are in quarantine since its workers began"
            found.append(ServerAlarm("MS-0702", text, self._clock.now_ns()))
        if count := sum(part.get("broken", 0) for part in parts):
            labels = sorted({part["broken_contract"] for part in parts if part.get("broken_contract")})
            text = (
                f"flow {name}: {count} outputs since its workers began broke {', '.join(labels)} and are in quarantine"
            )
            found.append(ServerAlarm("MS-0330", text, self._clock.now_ns()))
        return found

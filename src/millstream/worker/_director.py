"""The node's side of all its flows: their decisions, their workers, what people ask and are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from millstream.bus import START_PATIENCE_S, RawConnection, ServerAlarm, StreamApi, ensure_stream
from millstream.config import FlowEntry
from millstream.kernel import Clock, ConfigError, NotFoundError, PlantError, suggest
from millstream.model import AssetPath
from millstream.protocols.cloudevents import parse_time_ns
from millstream.sdk import Log
from millstream.worker._beats import Beat, BeatListener, send_gone, silence_ns
from millstream.worker._control import (
    ControlStore,
    FlowControl,
    control_stream,
    declared_control,
    refuse_rolled_back,
    switched,
)
from millstream.worker._lag import flow_lag
from millstream.worker._names import floor_of, is_born, state_subject
from millstream.worker._supervisor import CRASHES_BEFORE_ALARM, FlowSupervisor, Surroundings


@dataclass(slots=True)
class _Managed:
    """One configured flow."""

    entry: FlowEntry
    supervisor: FlowSupervisor
    control: FlowControl
    reports: dict[str, tuple[int, Mapping[str, Any]]]
    refusal: ConfigError | None = None
    since_ns: int = 0


class FlowDirector:
    """All flows of one node. Order of use: `prepare` once the streams are there, `run` in the node's task group,
    `stop` before the server goes."""

    def __init__(
        self, entries: Sequence[FlowEntry], around: Surroundings, connection: RawConnection, *, clock: Clock, log: Log
    ) -> None:
        self._around = around
        self._connection = connection
        self._clock = clock
        self._log = log
        self._api = StreamApi(connection)
        self._store = ControlStore(connection)
        self._flows = {e.name: _Managed(e, self._supervisor(e), FlowControl(), {}) for e in entries}

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
                if known is not None and await self._is_rolled_back(api, name, known):
                    refuse_rolled_back(flow.entry, flow.control, known)
            except ConfigError as error:
                flow.refusal, flow.since_ns = error, self._clock.now_ns()
                self._log.error("flow is not started", flow=name, error=str(error))
                continue
            if flow.control != known:
                await store.put(name, flow.control, seq)

    async def _is_rolled_back(self, api: StreamApi, name: str, known: FlowControl) -> bool:
        """True when the flows' stream was begun anew since this version ran: its state is not there."""
        if self._around.generation == 1:
            return False
        place, node = AssetPath.parse(self._around.place), self._around.node
        subjects = [state_subject(place, node, name, known.version, number) for number in range(known.partitions)]
        return all([await api.last(self._around.output, subject) is None for subject in subjects])

    async def run(self) -> None:
        """Until `stop`."""
        with ExitStack() as stack:
            for name, flow in self._flows.items():
                stack.callback(BeatListener(self._connection, name, self._taker(flow)).close)
            async with asyncio.TaskGroup() as group:
                for name, flow in self._flows.items():
                    if flow.refusal is None:
                        group.create_task(flow.supervisor.run(), name=f"flow {name}")

    def stop(self) -> None:
        """Let all workers finish what they have; `run` then returns."""
        for flow in self._flows.values():
            flow.supervisor.stop()

    def _taker(self, flow: _Managed) -> Callable[[Beat], None]:
        def take(beat: Beat) -> None:
            flow.reports.pop(beat.instance, None)
            if not beat.is_gone:
                flow.reports[beat.instance] = (self._clock.monotonic_ns(), beat.report)

        return take

    async def floor(self) -> int:
        """From which sequence on the flows' stream is needed. Raises PlantError."""
        place, node = AssetPath.parse(self._around.place), self._around.node
        subjects = []
        for name, flow in self._flows.items():
            versions = [(flow.control.version, flow.control.partitions)]
            if flow.control.before is not None:
                whole = (name, *versions[0])
                if not await is_born(self._api, self._around.output, place, node, whole):
                    versions.append(flow.control.before)
            subjects += [
                state_subject(place, node, name, v, number) for v, count in versions for number in range(count)
            ]
        return await floor_of(self._api, self._around.output, subjects)

    # -- what people ask ----------------------------------------------------------------------------------------------

    async def answer(self, request: bytes) -> object:
        """One request of `millstream flow`: {"action": ..., "flow": ...}. Errors are told in the answer."""
        try:
            raw = msgspec.json.decode(request or b"{}", type=dict[str, Any])
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

    async def _pause(self, flow: _Managed, _: Mapping[str, Any]) -> object:
        return await self._decide(flow, lambda known: msgspec.structs.replace(known, is_paused=True))

    async def _resume(self, flow: _Managed, _: Mapping[str, Any]) -> object:
        return await self._decide(flow, lambda known: msgspec.structs.replace(known, is_paused=False))

    async def _replay(self, flow: _Managed, raw: Mapping[str, Any]) -> object:
        start = str(raw.get("from", "beginning"))
        if start not in ("beginning", "now"):
            parse_time_ns(start)
        if any(p.get("is_muted") for _, report in flow.reports.values() for p in report.get("partitions", ())):
            raise ConfigError(
                "a replay of this flow is still under way", where=f"flow {flow.entry.name}",
                next_step="wait until `millstream flow status` shows no partition as catching up", code="MS-0706",
            )  # fmt: skip
        return await self._decide(flow, lambda known: switched(known, known.version + 1, flow.entry, start=start))

    async def _decide(self, flow: _Managed, change: Callable[[FlowControl], FlowControl]) -> object:
        known, seq = await self._store.get(flow.entry.name)
        decided = change(known or flow.control)
        if decided != known:
            await self._store.put(flow.entry.name, decided, seq)
            self._log.info("decision about a flow", flow=flow.entry.name, **msgspec.to_builtins(decided))
        flow.control = decided
        return {"flow": flow.entry.name, **msgspec.to_builtins(decided)}

    # -- what others see ----------------------------------------------------------------------------------------------

    def status(self) -> list[dict[str, Any]]:
        """Every flow as the node's status shows it."""
        return [self._flow_status(flow) for flow in self._flows.values()]

    def _flow_status(self, flow: _Managed) -> dict[str, Any]:
        entry, control = flow.entry, flow.control
        fresh_ns = self._clock.monotonic_ns() - silence_ns(entry.step_timeout)
        flow.reports = {name: found for name, found in flow.reports.items() if found[0] >= fresh_ns}
        parts = [part for _, report in flow.reports.values() for part in report.get("partitions", ())]
        running = {part["partition"] for part in parts}
        state = "refused" if flow.refusal else "paused" if control.is_paused else "running"
        if state == "running" and len(running) < control.partitions:
            state = "starting" if not running else "partly"
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
        }  # fmt: skip

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
        return found

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

"""The commands that every edge knows: write a tag, restart a connector, run the diagnostics, collect a bundle."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from millstream.bus import StreamApi
from millstream.config import EdgeConfig
from millstream.edge._bundle import make_bundle, referred_secrets
from millstream.edge._command_events import stored_event
from millstream.edge._command_types import Admitted, BuiltIn, Outcome
from millstream.edge._connector_set import ConnectorSet
from millstream.edge._write_gate import WriteRefused
from millstream.edge._writes import WriteDesk
from millstream.kernel import Clock, NotFoundError, PlantError, suggest
from millstream.model import AssetPath, TagPath
from millstream.protocols.alarm import ACTIONS, ask_event, check_ask
from millstream.protocols.cloudevents import CloudEvent
from millstream.protocols.command import Command
from millstream.protocols.diagnosis import Facts, judge
from millstream.protocols.write_request import WriteAnswer, WriteRequest, is_writable_value
from millstream.sdk import CommandContext, Message
from millstream.shop import (
    FACTS,
    SAID_KINDS,
    Fact,
    check_reject_ask,
    check_stop_ask,
    fact_event,
    reject_ask_event,
    stop_ask_event,
)

RESTART_S = 30.0  # until a restarted connector is looked at and told how it is
WRITE_S = 120.0  # waiting for its turn, the machine's answer and the read-back
DIAGNOSTICS_S = 60.0
ASK_S = 10.0
BUNDLE_S = 300.0
_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": 512}


def write_command(find: Callable[[], WriteDesk | None]) -> BuiltIn:
    """A tag of a machine, through the same gate and pace as `millstream write`. `find` gives the desk of now."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        args, desk = command.args, find()
        request = WriteRequest(command.id, args["tag"], args["value"], command.expires_ns, command.who)
        if desk is None or not is_writable_value(request.value):
            raise WriteRefused("no tag of this edge may be written" if desk is None else "not a value to write")
        raw = desk.admit(request)
        answers: list[WriteAnswer] = []

        async def run() -> Outcome:
            answer = await desk.carry_out(request, raw)
            answers.append(answer)
            given = {"read_back": answer.read_back, "answer": answer.answer}
            result = {name: value for name, value in given.items() if value is not None}
            return Outcome(answer.state, answer.code, answer.reason, result or None)

        def events(outcome: Outcome | None) -> list[Message]:
            """Beside the tag, as for every write."""
            if outcome is None:
                return [desk.event(request, None, "requested")]
            state = outcome.state if outcome.state != "cancelled" else "unknown"
            answer = answers[0] if answers else WriteAnswer(
                request.id, state, context.clock.now_ns(), outcome.code, outcome.reason
            )  # fmt: skip
            return [desk.event(request, answer, answer.state)]

        return Admitted(run, WRITE_S, events)

    schema = {
        "type": "object", "required": ["tag", "value"], "additionalProperties": False,
        "properties": {"tag": _TEXT, "value": {}},
    }  # fmt: skip
    return BuiltIn("Write one value to a machine; the tag has a `write` section in the edge's file.", schema, admit)


def restart_command(connectors: ConnectorSet, clock: Clock) -> BuiltIn:
    """One of the edge's connectors, begun anew."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        name, owners = command.args["connector"], connectors.owners()
        if name not in owners:
            near = suggest(name, list(owners))
            raise NotFoundError(
                "no such connector here", got=name, expected=", ".join(owners) or "an edge with connectors",
                next_step=f"did you mean {near!r}?" if near else None,
            )  # fmt: skip
        status = owners[name].status

        async def run() -> Outcome:
            opens = status()["opens"]
            connectors.restart(name)
            end_ns = clock.monotonic_ns() + int(RESTART_S * 1e9)
            while clock.monotonic_ns() < end_ns and (status()["opens"] == opens or status()["state"] == "opening"):
                await clock.sleep(0.1)
            return Outcome("done", result={key: status()[key] for key in ("state", "opens", "error")})

        return Admitted(run, 2 * RESTART_S)

    schema = {
        "type": "object", "required": ["connector"], "additionalProperties": False, "properties": {"connector": _TEXT}
    }  # fmt: skip
    return BuiltIn("Close a connector's link and open it again, also one that had stopped.", schema, admit)


def alarm_command(place: AssetPath) -> BuiltIn:
    """What somebody at the hub asks of an alarm that a flow of this edge keeps: the flow takes it from the stream."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        args = {name: value for name, value in command.args.items() if name != "alarm"}
        ask = check_ask({**args, "id": command.id, "who": command.who})
        path = command.args["alarm"]
        return _told(place, [path], [ask_event(path, ask, context.clock.now_ns())])

    schema = {
        "type": "object", "required": ["alarm", "action"], "additionalProperties": False,
        "properties": {
            "alarm": _TEXT, "action": {"enum": list(ACTIONS)}, "why": {"type": "string"},
            "until_ns": {"type": "integer"}, "occurrence": {"type": "integer"},
        },
    }  # fmt: skip
    return BuiltIn("Acknowledge, shelve or comment on an alarm; `millstream alarm` asks for it.", schema, admit)


def context_command(place: AssetPath) -> BuiltIn:
    """Facts of the plant that somebody told the hub, stored where the edge's flows read them."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        facts = [Fact(each["path"], each["what"], each["data"]) for each in command.args["facts"]]
        now_ns = context.clock.now_ns()
        told = [fact_event(fact, command.who, f"{command.id}/{n}", now_ns) for n, fact in enumerate(facts)]
        return _told(place, [fact.path for fact in facts], told)

    fact = {
        "type": "object", "required": ["path", "what", "data"], "additionalProperties": False,
        "properties": {"path": _TEXT, "what": {"enum": list(FACTS)}, "data": {"type": "object"}},
    }  # fmt: skip
    schema = {
        "type": "object", "required": ["facts"], "additionalProperties": False,
        "properties": {"facts": {"type": "array", "items": fact, "maxItems": 200}},
    }  # fmt: skip
    return BuiltIn("Store equipment, products and orders; `millstream context import` asks for it.", schema, admit)


def downtime_command(place: AssetPath) -> BuiltIn:
    """What somebody at the hub says of a stop, for the flow of this edge that keeps it."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        args = {name: value for name, value in command.args.items() if name != "path"}
        ask, path = check_stop_ask({**args, "id": command.id, "who": command.who}), command.args["path"]
        return _told(place, [path], [stop_ask_event(path, ask, context.clock.now_ns())])

    schema = {
        "type": "object", "required": ["path", "action", "at_ns"], "additionalProperties": False,
        "properties": {
            "path": _TEXT, "action": {"enum": ["split", "merge", "reason"]}, "at_ns": {"type": "integer"},
            **{name: {"type": "string"} for name in ("reason", "why", "category")},
        },
    }  # fmt: skip
    return BuiltIn("Give a stop its reason, cut or join it; `millstream downtime` asks for it.", schema, admit)


def quality_command(place: AssetPath) -> BuiltIn:
    """What somebody at the hub says of scrap and rework, for the flow of this edge that keeps them."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        args = {name: value for name, value in command.args.items() if name != "path"}
        ask, path = check_reject_ask({**args, "id": command.id, "who": command.who}), command.args["path"]
        return _told(place, [path], [reject_ask_event(path, ask, context.clock.now_ns())])

    schema = {
        "type": "object", "required": ["path"], "additionalProperties": False,
        "properties": {
            "path": _TEXT, "count": {"type": "number", "minimum": 0}, "kind": {"enum": ["", *SAID_KINDS]},
            **{name: {"type": "integer"} for name in ("start_ns", "end_ns")},
            **{name: {"type": "string"} for name in ("reason", "instead_of", "why", "of")},
        },
    }  # fmt: skip
    return BuiltIn("Say which parts were no good, or put that right; `millstream quality` asks for it.", schema, admit)


def _told(place: AssetPath, paths: Sequence[str], told: Sequence[tuple[str, CloudEvent]]) -> Admitted:
    """Nothing is done but to store events, with the end of the command. Raises NotFoundError for a foreign place."""
    for path in paths:
        if TagPath.parse(path).asset.levels[: len(place.levels)] != place.levels:
            raise NotFoundError("not a place of this edge", got=path, expected=f"below {place}")

    async def run() -> Outcome:
        return Outcome("done", result={"stored": len(told)})

    def events(outcome: Outcome | None) -> list[Message]:
        if outcome is None or outcome.state != "done":
            return []
        return [stored_event(subject, event) for subject, event in told]

    return Admitted(run, ASK_S, events)


def diagnostics_command(look: Callable[[], Awaitable[Facts]]) -> BuiltIn:
    """What `millstream doctor` checks, at the edge itself."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        async def run() -> Outcome:
            findings = [finding.as_dict() for finding in judge(await look())]
            is_critical = any(finding["severity"] == "critical" for finding in findings)
            return Outcome("done", result={"ok": not is_critical, "findings": findings[:200]})

        return Admitted(run, DIAGNOSTICS_S)

    schema = {"type": "object", "additionalProperties": False, "properties": {}}
    return BuiltIn("Check the node as `millstream doctor` does.", schema, admit)


def bundle_command(
    data_dir: Path, config: Callable[[], EdgeConfig], status: Callable[[], Mapping[str, Any]],
    look: Callable[[], Awaitable[Facts]],
) -> BuiltIn:  # fmt: skip
    """Status, configuration, diagnostics and the ends of the logs, without secrets, as a zip at the edge."""

    def admit(command: Command, context: CommandContext) -> Admitted:
        async def run() -> Outcome:
            findings = [finding.as_dict() for finding in judge(await look())]
            now = config()
            documents = {"status": status(), "configuration": now.model_dump(mode="json"), "diagnostics": findings}
            known = await asyncio.to_thread(referred_secrets, now)
            made = await asyncio.to_thread(make_bundle, data_dir, command.id, documents, known)
            return Outcome("done", result={"bytes": made.size_bytes, "sha256": made.sha256})

        return Admitted(run, BUNDLE_S)

    schema = {"type": "object", "additionalProperties": False, "properties": {}}
    return BuiltIn("Collect what somebody who helps needs to see; `millstream command fetch` gets it.", schema, admit)


async def edge_facts(
    status: Callable[[], Mapping[str, Any]],
    api: StreamApi,
    streams: Callable[[], Sequence[str]],
    data_dir: Path,
    clock: Clock,
) -> Facts:
    """What the diagnostics judge. What cannot be asked is left out."""
    infos: list[Mapping[str, Any]] = []
    for name in streams():
        try:
            infos.append(await api.request(f"STREAM.INFO.{name}"))
        except PlantError:
            continue
    facts = Facts(clock.now_ns(), nodes=[status()], streams=infos, data_dir=str(data_dir))
    try:
        usage = await asyncio.to_thread(partial(shutil.disk_usage, data_dir))
        facts.disk = (usage.free, usage.total)
    except OSError:
        pass
    return facts

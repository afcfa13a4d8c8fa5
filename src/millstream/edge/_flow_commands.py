"""Commands that flows of this edge declare: offered under ``<flow>.<command>``, carried out by the flow in its turn.

    running + ask, in one batch -> the flow's commit: its effect and its answer -> the command's end

What happens if it is killed here? The ask is stored with the beginning, so it is asked once. The flow takes it once,
and its answer stands in its stream: after a restart it is looked for there, and waited for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from millstream.bus import StreamApi
from millstream.edge._command_events import stored_event
from millstream.edge._command_types import Admitted, BuiltIn, Outcome
from millstream.kernel import Clock, NotFoundError, PlantError, Unreachable
from millstream.model import AssetPath, TagPath
from millstream.protocols.cloudevents import decode_event
from millstream.protocols.command import Command
from millstream.protocols.flow_command import FlowAnswer, FlowAsk, answer_subject, ask_event, ask_path, read_answer
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_pattern import Pattern
from millstream.sdk import CommandContext, Message
from millstream.worker import FlowDirector

LOOK_S = 0.1
PATHS_MAX = 256  # whose answers are read on from where they were; of others from the beginning
ANSWERS_MAX = 64  # of one path, the newest
RESUME_S = 3600.0


@dataclass(slots=True)
class _Read:
    """The answers of one path, as far as they were read."""

    seq: int = 0
    found: OrderedDict[str, FlowAnswer] = field(default_factory=OrderedDict)


class FlowCommands:
    """Those of the flows that run now. `director` gives them, or None."""

    def __init__(
        self, place: AssetPath, director: Callable[[], FlowDirector | None], api: StreamApi, clock: Clock
    ) -> None:  # fmt: skip
        self._place = place
        self._director = director
        self._api = api
        self._clock = clock
        self._read: OrderedDict[str, _Read] = OrderedDict()

    def offered(self) -> Mapping[str, BuiltIn]:
        """By type."""
        director = self._director()
        told = {} if director is None else director.commands()
        return {
            f"{flow}.{one['name']}": BuiltIn(
                str(one["description"]), one["schema"], partial(self._admit, flow, one), resume=self.resume
            )
            for flow, commands in told.items() for one in commands or ()
        }  # fmt: skip

    def is_awaited(self, type: str) -> bool:
        """Whether this may be a command of a flow that is only starting: what it offers is known soon."""
        director, flow = self._director(), type.partition(".")[0]
        return "." in type and director is not None and director.commands().get(flow, ()) is None

    def _admit(self, flow: str, told: Mapping[str, Any], command: Command, context: CommandContext) -> Admitted:
        path, director = str(command.args["path"]), self._director()
        stored_at = ask_path(path, flow, str(told["name"]))
        if director is None or director.is_paused(flow):
            raise PlantError(f"the flow {flow} is paused", next_step="`millstream flow resume` lets it go on")
        address = TagPath.parse(stored_at)
        is_here = address.asset.levels[: len(self._place.levels)] == self._place.levels
        if not is_here or not any(Pattern.parse(text).fits_path(stored_at) for text in told["patterns"]):
            raise NotFoundError("not a place of this flow", got=path, expected="equipment or a tag that it reads")
        args = {name: value for name, value in command.args.items() if name != "path"}
        ask = FlowAsk(command.id, command.who, args)
        subject, event = ask_event(str(address), ask, context.clock.now_ns())

        def events(outcome: Outcome | None) -> list[Message]:
            return [stored_event(subject, event)] if outcome is None else []

        return Admitted(partial(self._wait, stored_at, command.id), float(told["time_limit_s"]), events)

    def resume(self, command: Command, context: CommandContext) -> Admitted:
        """It was asked; the answer is there, or will be."""
        flow, _, name = command.type.partition(".")
        path = ask_path(str(command.args["path"]), flow, name)
        known = self.offered().get(command.type)
        director = self._director()
        told = () if director is None or known is None else director.commands().get(flow) or ()
        limit_s = next((float(one["time_limit_s"]) for one in told if one["name"] == name), RESUME_S)
        return Admitted(partial(self._wait, path, command.id), limit_s)

    async def _wait(self, path: str, id: str) -> Outcome:
        """Until the flow has answered."""
        while True:
            try:
                answer = await self._look(path, id)
            except Unreachable:  # the server restarts
                answer = None
            if answer is not None:
                return Outcome(answer.state, answer.code, answer.reason, answer.result)
            await self._clock.sleep(LOOK_S)

    async def _look(self, path: str, id: str) -> FlowAnswer | None:
        """Read the answers of a path on, in their order."""
        director = self._director()
        if director is None:
            return None
        subject = answer_subject(path)
        read = self._read.setdefault(f"{director.output} {subject}", _Read())
        self._read.move_to_end(f"{director.output} {subject}")
        while len(self._read) > PATHS_MAX:
            self._read.popitem(last=False)
        while id not in read.found:
            stored = await self._api.next(director.output, read.seq + 1, subject)
            if stored is None:
                return None
            read.seq = max(read.seq, stored.seq)
            event = decode_event(parse_headers(stored.headers).values, stored.payload)
            answer = read_answer(event.data)
            if answer is not None:
                read.found[answer.id] = answer
                while len(read.found) > ANSWERS_MAX:
                    read.found.popitem(last=False)
        return read.found[id]

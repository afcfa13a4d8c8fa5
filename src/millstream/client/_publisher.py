"""Storing one message for certain: contracts are checked before, and a lost answer is looked into."""

from __future__ import annotations

import json
from collections.abc import Mapping

from millstream.bus._link import Link
from millstream.client._contracts import Registry
from millstream.client._streams import Streams, refuse
from millstream.kernel import Clock, Unreachable
from millstream.protocols.ledger import WRITER_HEADER
from millstream.sdk import Stored

PUBLISH_ATTEMPTS_MAX = 2  # the second one only after a look that the first is not stored
CLOCK_SLACK_NS = 10_000_000_000  # between this machine's clock and the server's, when both tell one moment


class Publisher:
    """What is published from this program goes through here."""

    def __init__(self, link: Link, streams: Streams, registry: Registry, clock: Clock) -> None:
        self._link, self._streams, self._registry, self._clock = link, streams, registry, clock

    async def store(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
        """Check the contracts, publish and wait for the answer; without one, look whether it is stored before sending
        it again. What breaks a contract goes into quarantine, and ContractBroken is raised."""
        violation = await self._registry.violation(subject, payload, headers)
        if violation is not None:
            raise await self._registry.quarantine(subject, payload, headers, violation)
        begun_ns = self._clock.now_ns()
        for _ in range(PUBLISH_ATTEMPTS_MAX):
            try:
                reply = await self._link.request(subject, payload, headers={WRITER_HEADER: "sdk", **headers})
            except Unreachable as error:
                if "nobody answers" in error.what:
                    raise Unreachable(
                        "no stream takes this path", where=subject,
                        next_step="publish below the path of the edge that you are connected to", code="MS-0480",
                    ) from error  # fmt: skip
                stored = await self._stored_since(subject, begun_ns, headers)
                if stored is not None:
                    return stored
                continue
            answer = json.loads(reply.payload)
            refuse(answer, subject)
            return Stored(str(answer["stream"]), int(answer["seq"]))
        raise Unreachable("not stored: no answer in time", where=subject, next_step="publish it again")

    async def _stored_since(self, subject: str, begun_ns: int, headers: Mapping[str, str]) -> Stored | None:
        """Where the message with these headers is stored, None when it is not. Raises Unreachable when others wrote
        the same subject since, so that it cannot be told."""
        frames = [
            f for s in await self._streams.of_data(with_local=True) for f in await self._streams.last(s, [subject])
        ]
        for frame in frames:
            if frame.headers.get("Nats-Msg-Id") == headers["Nats-Msg-Id"]:
                return Stored(frame.stream, frame.seq)
        if any(frame.time_ns > begun_ns - CLOCK_SLACK_NS for frame in frames):
            raise Unreachable(
                "it is not known whether the value is stored", where=subject,
                next_step="look at it with `last` before you publish it again",
            )  # fmt: skip
        return None

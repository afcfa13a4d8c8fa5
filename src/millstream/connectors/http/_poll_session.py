"""A session that asks a server: each address once a read, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from millstream.connectors.http._client import Answer, Client
from millstream.connectors.http._config import HttpConfig
from millstream.connectors.http._mapping import Clock, Reader, make_readers
from millstream.kernel import AuthError, ConfigError, DecodeError, PlantError, Unreachable
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_DECODING_ERROR, BAD_NO_COMMUNICATION, Quality, Sample
from millstream.protocols.http_rules import BUSY, quality_of
from millstream.protocols.mqtt_mapping import Payload
from millstream.sdk import ConnectorTools, Tag

REQUESTS_AT_ONCE = 4
PLANS_COUNT_MAX = 64  # one for each set of tags asked together


@dataclass(slots=True)
class _Outcome:
    """What became of one address: a body, or why there is none."""

    payload: Payload | None = None
    quality: Quality = BAD_NO_COMMUNICATION
    error: PlantError | None = None
    is_busy: bool = False


class PollSession:
    """Polled."""

    def __init__(self, client: Client, config: HttpConfig, tools: ConnectorTools) -> None:
        self._client = client
        self._config = config
        self._tools = tools
        self._time = Clock(config)
        self._plans: dict[tuple[str, ...], list[Reader]] = {}
        self._due_ns: dict[str, int] = {}
        self._faults: dict[str, str] = {}
        self._timeless: set[str] = set()

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order. Raises Unreachable when no address answers, AuthError when one refuses us."""
        readers = self._readers(tags)
        paths = list(dict.fromkeys(reader.resource.path for reader in readers))
        slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                asking = {path: group.create_task(self._ask(path, slots)) for path in paths}
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        outcomes = {path: task.result() for path, task in asking.items()}
        self._check_alive(outcomes)
        times = {path: self._time_of(path, outcome) for path, outcome in outcomes.items()}
        return [self._sample(reader, outcomes[reader.resource.path], times) for reader in readers]

    def _readers(self, tags: Sequence[Tag]) -> list[Reader]:
        key = tuple(f"{tag.key}\n{tag.address}" for tag in tags)
        readers = self._plans.get(key)
        if readers is None:
            if len(self._plans) >= PLANS_COUNT_MAX:
                self._plans.clear()
            readers = self._plans[key] = make_readers(tags)
        return readers

    async def _ask(self, path: str, slots: asyncio.Semaphore) -> _Outcome:
        if self._tools.clock.monotonic_ns() < self._due_ns.get(path, 0):
            return _Outcome(quality=BAD_DATA_UNAVAILABLE, is_busy=True)
        async with slots:
            try:
                answer = await self._client.ask(path)
            except (AuthError, ConfigError):
                raise
            except DecodeError as error:
                outcome = _Outcome(quality=BAD_DECODING_ERROR, error=error)
            except PlantError as error:
                outcome = _Outcome(error=error)
            else:
                outcome = self._judged(path, answer)
        self._tell(path, outcome)
        return outcome

    def _judged(self, path: str, answer: Answer) -> _Outcome:
        quality = quality_of(answer.status)
        if quality.is_good:
            return _Outcome(Payload(answer.body), quality)
        is_busy = answer.status in BUSY
        if answer.retry_after_s:
            self._due_ns[path] = self._tools.clock.monotonic_ns() + int(answer.retry_after_s * 1e9)
        error = Unreachable(
            f"server answers with status {answer.status}", where=(self._config.url or "") + path,
            retry_after_s=answer.retry_after_s, code="MS-1605",
        )  # fmt: skip
        return _Outcome(quality=quality, error=error, is_busy=is_busy)

    def _tell(self, path: str, outcome: _Outcome) -> None:
        """One line on each change of state."""
        now = "" if outcome.error is None else str(outcome.error)
        before = self._faults.pop(path, "")
        if now:
            self._faults[path] = now
            if before != now:
                self._tools.log.warning("no values", path=path, error=now)
        elif before:
            self._tools.log.info("values again", path=path)

    def _check_alive(self, outcomes: dict[str, _Outcome]) -> None:
        """The link is lost when nothing was answered, or only that the server cannot answer now."""
        if any(outcome.payload is not None for outcome in outcomes.values()):
            return
        failures = [
            outcome.error
            for outcome in outcomes.values()
            if outcome.error is not None and (outcome.is_busy or outcome.quality == BAD_NO_COMMUNICATION)
        ]
        if failures and len(failures) == len(outcomes):
            raise failures[0]

    def _time_of(self, path: str, outcome: _Outcome) -> int | None:
        """None also when the answer is plain text, or its time is none: the value is still what was read just now."""
        if outcome.payload is None:
            return None
        try:
            return self._time.read(outcome.payload)
        except DecodeError as error:
            if path not in self._timeless:
                self._timeless.add(path)
                self._tools.log.warning("no time in the answer", path=path, error=error.what)
            return None

    @staticmethod
    def _sample(reader: Reader, outcome: _Outcome, times: dict[str, int | None]) -> Sample:
        if outcome.payload is None:
            return Sample(reader.key, None, outcome.quality)
        return reader.read(outcome.payload, times[reader.resource.path])

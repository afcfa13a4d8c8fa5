"""The micro service of a node (ADR-32), so that ``nats micro ls`` sees it: an asynchronous scope over nats-py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
import nats.errors
from nats.micro.request import Request

from millstream.bus._client import add_micro_service, connect_nats
from millstream.bus._credentials import Credentials
from millstream.bus._patience import START_PATIENCE_S, patiently
from millstream.kernel import PlantError
from millstream.protocols.audit import REQUEST_INFO, origin_told

Answer = Callable[[], Awaitable[object]]
AnswerTo = Callable[[bytes], Awaitable[object]]
AnswerFrom = Callable[[bytes, str], Awaitable[object]]
STORED_MARK = "Nats-Stream"
ANSWERS_AT_ONCE_MAX = 64  # then the next request waits in its subscription


@contextlib.asynccontextmanager
async def node_service(
    url: str,
    credentials: Credentials,
    *,
    name: str,
    version: str,
    endpoints: Mapping[str, tuple[str, Answer]],
    asked: Mapping[str, tuple[str, AnswerTo]] | None = None,
    asked_from: Mapping[str, tuple[str, AnswerFrom]] | None = None,
) -> AsyncIterator[None]:
    """Answer requests while in the scope. `endpoints` maps a name to (subject, what gives the answer, sent as JSON);
    those in `asked` get the request's payload, those in `asked_from` also the address of who asks, as far as the server
    says it. `version` is a Python package version. Raises Unreachable or AuthError
    on entering."""
    client = await patiently(
        lambda: connect_nats(url, credentials, name=f"{name} service"), patience_s=START_PATIENCE_S, where=url
    )
    try:
        handlers = {endpoint: (subject, _handler(answer)) for endpoint, (subject, answer) in endpoints.items()}
        running = _Running()
        for endpoint, (subject, answer_to) in (asked or {}).items():
            handlers[endpoint] = (subject, running.handler_of(_whoever(answer_to)))
        for endpoint, (subject, answer_from) in (asked_from or {}).items():
            handlers[endpoint] = (subject, running.handler_of(answer_from))
        service = await add_micro_service(client, name, semantic_version(version), handlers)
        try:
            yield
        finally:
            await running.end()
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):  # the server may be gone already
                await service.stop()
    finally:
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            await client.close()


def _handler(answer: Answer) -> Callable[[Request], Awaitable[None]]:
    async def handle(request: Request) -> None:
        await _reply(request, await answer())

    return handle


class _Running:
    """Answers under way, beside one another: one that waits for a machine must not hold up the next."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(ANSWERS_AT_ONCE_MAX)

    def handler_of(self, answer: AnswerFrom) -> Callable[[Request], Awaitable[None]]:
        async def handle(request: Request) -> None:
            await self._gate.acquire()
            task = asyncio.get_running_loop().create_task(_respond(request, answer))
            self._tasks.add(task)
            task.add_done_callback(self._done)

        return handle

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._gate.release()

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _whoever(answer: AnswerTo) -> AnswerFrom:
    return lambda payload, _: answer(payload)


async def _respond(request: Request, answer: AnswerFrom) -> None:
    if request.headers and STORED_MARK in request.headers:
        return  # JetStream's answer to somebody, aimed here by its reply subject: nobody has asked
    try:
        origin = origin_told(request.headers.get(REQUEST_INFO)) if request.headers else ""
        reply = await answer(request.data, origin)
    except PlantError as error:
        reply = {"error": error.as_dict()}
    except Exception as error:  # noqa: BLE001 (a bug in one answer is told to who asked, and must not end the node)
        reply = {"error": PlantError(f"the node met a fault: {type(error).__name__}: {error}").as_dict()}
    await _reply(request, reply)


async def _reply(request: Request, reply: object) -> None:
    """Answer, unless whoever asked is gone, or only told something and waits for no answer (a ValueError there)."""
    with contextlib.suppress(nats.errors.Error, OSError, ValueError):
        await request.respond(msgspec.json.encode(reply))


def semantic_version(version: str) -> str:
    """A package version as NATS services announce it: ``0.1.0.dev0`` -> ``0.1.0-dev0``."""
    numbers = version.split(".")
    plain = [n for n in numbers[:3] if n.isdigit()]
    rest = "".join(numbers[len(plain) :])
    return ".".join([*plain, "0", "0"][:3]) + (f"-{rest}" if rest.isalnum() else "")

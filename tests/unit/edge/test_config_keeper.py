"""A configuration from afar at an edge: found although it is stored late, told in one batch, waited for by its hub."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from millstream.bus import MemoryPublisher, MemoryStream
from millstream.config import EdgeConfig, InstalledConnectors
from millstream.edge._config_keeper import ConfigKeeper
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import SystemClock
from millstream.protocols.site_config import RevisionWait, encode_look, encode_revision, encode_wait, make_revision
from millstream.sdk import Received


class _Hub:
    """Has nothing until `payload` is set."""

    def __init__(self) -> None:
        self.payload: bytes | None = None
        self.looks = 0

    async def last(self, stream: str, subject: str) -> Received | None:
        self.looks += 1
        return None if self.payload is None else Received(subject, self.payload, None, 1, 0)


class _Node:
    def check(self, config: EdgeConfig) -> None: ...
    def up(self) -> tuple[str, ...]:
        return ()

    async def drain(self, config: EdgeConfig) -> None: ...
    async def switch(self, config: EdgeConfig) -> None: ...
    def ailing(self, must_be_up: Sequence[str], unchanged: Sequence[str]) -> str | None:
        return None

    def hopeless(self, unchanged: Sequence[str]) -> str | None:
        return None


def _keeper(folder: Path) -> ConfigKeeper:
    raw: dict[str, Any] = {
        "edge": {"name": "e1", "path": "acme/plant1", "data_dir": str(folder)},
        "uplink": {"url": "nats://127.0.0.1:1", "secret": {"env": "NONE"}},
    }
    quiet: Any = SimpleNamespace(info=_nothing, warning=_nothing, error=_nothing)
    return ConfigKeeper(
        EdgeConfig.model_validate(raw), folder, connectors=InstalledConnectors(), flows=FLOW_TYPES, clock=SystemClock(),
        log=quiet,
    )  # fmt: skip


def _nothing(*_: object, **__: object) -> None: ...


def _revision(number: int = 1, text: str = "connectors: []\n") -> bytes:
    made = make_revision(
        "e1", text, revision=number, based_on=number - 1, author="ada", comment="", time_ns=1,
        healthy_within_ms=1000,
    )  # fmt: skip
    return encode_revision(made)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _told(stream: MemoryStream) -> list[str]:
    return [m.subject.rpartition(".")[2] for m in stream.messages if "._event.millstream.config." in m.subject]


async def test_what_is_stored_after_its_nudge_is_found_told_in_one_batch_and_answered_when_it_is_through(
    tmp_path: Path,
) -> None:
    hub, stream = _Hub(), MemoryStream("E_e1_I")
    publisher, keeper = MemoryPublisher(stream), _keeper(tmp_path)
    await keeper.open()
    api: Any = hub
    task = asyncio.ensure_future(keeper.run(_Node(), api, publisher))
    payload = _revision()
    async with asyncio.timeout(5):  # half of what passes until it looks by itself
        while not hub.looks:
            await asyncio.sleep(0)
        await keeper.answer(encode_look(payload))
        while hub.looks < 2:  # too early: nothing is there
            await asyncio.sleep(0.001)
        hub.payload = payload
        report: Any = await keeper.answer(encode_wait(RevisionWait(1, 4.0)))
        assert (report["phase"], report["healthy_revision"]) == ("settled", 1)
        while len(_told(stream)) < 3:
            await asyncio.sleep(0.001)
    assert _told(stream) == ["received", "applied", "healthy"]
    assert sum("configuration=20reports" in m.subject for m in stream.messages) == 1
    runs = [msgspec.json.decode(m.payload)["runs"] for m in stream.messages if "._event." in m.subject]
    assert runs == [0, 1, 1]
    looks = hub.looks
    await keeper.answer(encode_look(payload))  # the same once more
    await asyncio.sleep(0.05)
    assert hub.looks == looks
    waits: Any = await keeper.answer(encode_wait(RevisionWait(2, 0.05)))  # nothing of that kind comes
    assert waits["healthy_revision"] == 1
    await _end(task)

    # Killed now: its disk does not know that the last ones are told, the stream does.
    kept = msgspec.json.decode((tmp_path / "config" / "state.json").read_bytes())
    assert [report["what"] for report in kept["reports"]] == ["received", "applied", "healthy"]
    again = _keeper(tmp_path)
    await again.open()
    task = asyncio.ensure_future(again.run(_Node(), api, MemoryPublisher(stream)))
    looks = hub.looks
    async with asyncio.timeout(5):
        while hub.looks == looks:
            await asyncio.sleep(0)
    await _end(task)
    assert len(_told(stream)) == 3


class _Lazy(MemoryPublisher):
    """What may wait for company is stored by a flush alone."""

    def __init__(self, stream: MemoryStream) -> None:
        super().__init__(stream)
        self.held: list[tuple[Any, Any, asyncio.Future[Any]]] = []

    async def submit(self, messages: Any, control: Any = None, *, patience_s: float = 0.0) -> Any:
        if not patience_s:
            return await super().submit(messages, control)
        self.held.append((messages, control, asyncio.get_running_loop().create_future()))
        return self.held[-1][2]

    async def flush(self) -> None:
        for messages, control, future in self.held:
            future.set_result(await (await super().submit(messages, control)))
        self.held.clear()


async def test_good_news_waits_for_data_to_be_stored_with_and_bad_news_for_nothing(tmp_path: Path) -> None:
    hub, stream = _Hub(), MemoryStream("E_e1_I")
    publisher, keeper = _Lazy(stream), _keeper(tmp_path)
    await keeper.open()
    api: Any = hub
    task = asyncio.ensure_future(keeper.run(_Node(), api, publisher))
    async with asyncio.timeout(30):
        hub.payload = _revision()
        keeper.nudge()
        while not publisher.held:
            await asyncio.sleep(0.001)
        assert (keeper.state.phase, _told(stream)) == ("settled", [])
        hub.payload = _revision(2, "connectors: [")
        keeper.nudge()
        while len(_told(stream)) < 4:
            await asyncio.sleep(0.001)
    assert _told(stream) == ["received", "applied", "healthy", "refused"]
    await _end(task)

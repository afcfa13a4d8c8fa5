"""The kit finds what it looks for: each fault below fails exactly the check that names it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from millstream.kernel import Unreachable
from millstream.model import BAD_NODE_ID_UNKNOWN, Sample
from millstream.sdk import (
    Batch,
    ConnectorConfig,
    ConnectorInfo,
    ConnectorTools,
    NodeInfo,
    Position,
    Tag,
)
from millstream.sdk.testing import (
    ConformanceCase,
    ExpectedValue,
    LoopClock,
    NotApplicable,
    Peer,
    StaleWaiverError,
    VirtualClock,
    check_names,
    held_resources,
    run_check,
    run_virtual,
)
from millstream.sdk.testing._drive import batches_of

README = "\n".join(f"## {name}\ntext\n" for name in ("Tested with", "Sample", "Limits", "Troubleshooting", "Security"))
SAMPLE = "{name: ramp, type: ramp, config: {steps: 5}, tags: [{name: n, address: n}]}"
QUALITY = (
    "maturity: bronze\nclaims: {"
    + ", ".join(
        f"{name}: done"
        for name in ("config_round_trip", "sample_is_fresh", "readme_is_complete", "capabilities", "open_close")
    )
    + "}"
)


class RampConfig(ConnectorConfig):
    """A ramp of whole numbers."""

    steps: int = 100
    """How many."""


class Ramp:
    """A good connector: counts up, in memory. `World.fault` names what it does wrong."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo("ramp", "counts", "none")
    Config: ClassVar[type[ConnectorConfig]] = RampConfig
    world: ClassVar[World]

    def __init__(self, config: RampConfig, tools: ConnectorTools) -> None:
        self.config = config

    def check_tag(self, tag: Tag) -> None:
        """Everything goes."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RampSession]:
        """Wait a little, as a real one does."""
        await asyncio.sleep(0)
        if self.world.is_down:
            raise OSError("foreign") if self.world.fault == "foreign error" else Unreachable("down")
        if self.world.fault == "leaks":
            self.world.tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600)))
        yield RampSession(self.config, self.world)


class RampSession:
    """Streamed, browsable."""

    def __init__(self, config: RampConfig, world: World) -> None:
        self.config, self.world = config, world

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """One node."""
        yield NodeInfo("n", "n")

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Numbers, then nothing more."""
        number = 0 if resume is None else int(resume) + (self.world.fault != "repeats")
        unknown = [Sample(tag.key, None, BAD_NODE_ID_UNKNOWN) for tag in tags if tag.address != "n"]
        if unknown and self.world.fault == "bad tag kills":
            raise KeyError("no such tag")
        if unknown:
            yield Batch(unknown)
        while number < self.config.steps:
            await self._step()
            keys = [tag.key for tag in tags if tag.address == "n"]
            yield Batch([Sample(key, float(number)) for key in keys], position=Position(str(number).encode()))
            number += 1

    async def _step(self) -> None:
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            if self.world.fault != "swallows":
                raise
        if self.world.is_down:
            raise OSError("foreign") if self.world.fault == "foreign error" else Unreachable("down")


class World:
    """What the fault is, and whether the link stands."""

    def __init__(self) -> None:
        self.fault = ""
        self.is_down = False
        self.tasks: list[asyncio.Task[None]] = []


class RampPeer(Peer):
    """Its link can break; it can be flooded."""

    world: World

    async def break_link(self) -> None:
        """Down."""
        self.world.is_down = True

    async def restore_link(self) -> None:
        """Up."""
        self.world.is_down = False

    async def flood(self, limit_bytes: int) -> int:
        """The faulty one takes everything."""
        return limit_bytes if self.world.fault == "takes all" else 0


class RampCase(ConformanceCase):
    """The ramp in a folder of its own."""

    connector = Ramp
    deadline_s = 2.0

    def __init__(self, folder: Path, world: World, waivers: Mapping[str, str]) -> None:
        self.folder = folder  # type: ignore[misc]
        self.waivers = waivers  # type: ignore[misc]
        self.world = world

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        """Nothing to start."""
        extreme = ExpectedValue(Tag("n", "n"), 0 if self.world.fault == "wrong type" else 0.0)
        peer = RampPeer({"steps": 100_000}, [Tag("n", "n")], Tag("bad", "x"), [extreme])
        peer.samples_count, peer.is_endless = 20, True
        peer.world = self.world
        yield peer


@pytest.fixture
def world() -> Iterator[World]:
    Ramp.world = World()
    yield Ramp.world
    del Ramp.world


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "sample.yaml").write_text(SAMPLE)
    (tmp_path / "quality.yaml").write_text(QUALITY)
    return tmp_path


@pytest.mark.parametrize("check", check_names())
async def test_a_good_connector_passes(check: str, folder: Path, world: World) -> None:
    result = await run_check(RampCase(folder, world, {}), check)
    assert result == "held" or check == "poison_frame" or result.endswith("there is no fault layer")


FAULTS = {
    "leaks": "open_close",
    "swallows": "cancel_anywhere",
    "foreign error": "link_lost",
    "repeats": "resume",
    "bad tag kills": "bad_tag",
    "wrong type": "extremes",
    "takes all": "back_pressure",
}


@pytest.mark.parametrize(("fault", "check"), FAULTS.items())
async def test_a_fault_is_found_by_its_check(fault: str, check: str, folder: Path, world: World) -> None:
    world.fault = fault
    try:
        with pytest.raises((AssertionError, KeyError)):
            await run_check(RampCase(folder, world, {}), check)
        result = await run_check(RampCase(folder, world, {check: "known, see the page"}), check)
        assert result.startswith("waived: known")
    finally:
        for task in world.tasks:
            task.cancel()
        await asyncio.gather(*world.tasks, return_exceptions=True)


async def test_what_others_let_go_of_meanwhile_is_not_taken_for_something_opened(tmp_path: Path) -> None:
    (tmp_path / "theirs").touch()
    (tmp_path / "ours").touch()
    theirs = (tmp_path / "theirs").open()
    before = held_resources()
    theirs.close()
    assert not held_resources().is_more_than(before)
    with (tmp_path / "ours").open():
        assert held_resources().is_more_than(before), "as many files as before, and one of them another"
    task = asyncio.ensure_future(asyncio.sleep(3600))
    assert held_resources().is_more_than(before)
    task.cancel()
    await asyncio.wait([task])


async def test_a_waiver_of_what_holds_is_stale(folder: Path, world: World) -> None:
    with pytest.raises(StaleWaiverError, match="stale"):
        await run_check(RampCase(folder, world, {"bad_tag": "was broken once"}), "bad_tag")


PAPER = {
    "readme_is_complete": ("README.md", README.replace("## Limits", "## Bounds")),
    "sample_is_fresh": ("sample.yaml", SAMPLE.replace("steps: 5", "")),
    "quality_is_honest": ("quality.yaml", QUALITY.replace("bronze", "gold")),
}


@pytest.mark.parametrize("check", PAPER)
async def test_stale_paper_is_found(check: str, folder: Path, world: World) -> None:
    name, text = PAPER[check]
    (folder / name).write_text(text)
    with pytest.raises(AssertionError):
        await run_check(RampCase(folder, world, {}), check)


async def test_a_claim_that_the_case_waives_is_found(folder: Path, world: World) -> None:
    with pytest.raises(AssertionError, match="waives"):
        await run_check(RampCase(folder, world, {"open_close": "leaks a socket"}), "quality_is_honest")


class Acked:
    """Gives no batch before the one before is acknowledged, as a broker does at its limit."""

    acks: tuple[Position, ...] = ()

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        for number in range(1, 4):
            assert len(self.acks) == number - 1, "asked for more without an acknowledgement"
            yield Batch([Sample(tags[0].key, number)], position=Position(b"%d" % number))

    async def ack(self, up_to: Position) -> None:
        self.acks += (up_to,)


async def test_the_kit_acknowledges_what_it_took_before_it_asks_for_more() -> None:
    session: Any = Acked()
    async with aclosing(batches_of(session, [Tag("n", "n")])) as batches:
        assert [batch.samples[0].value async for batch in batches] == [1, 2, 3]
    assert session.acks == (b"1", b"2", b"3")


async def test_the_peers_levers_default_to_not_applicable() -> None:
    peer: Any = Peer({}, [])
    for lever in (peer.break_link, peer.poison):
        with pytest.raises(NotApplicable):
            await lever()


def test_an_hour_of_virtual_time_takes_no_time() -> None:
    clock = LoopClock(start_ns=0)

    async def hour() -> tuple[int, list[str]]:
        order: list[str] = []

        async def note(name: str, delay_s: float) -> None:
            await clock.sleep(delay_s)
            order.append(name)

        await asyncio.gather(note("late", 3600), note("early", 60))
        return clock.now_ns(), order

    now_ns, order = run_virtual(hour())
    assert order == ["early", "late"]
    assert now_ns == pytest.approx(3600e9, rel=1e-6)


def test_virtual_time_that_stands_still_is_an_error() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="stands still"):
        run_virtual(wait_for_nothing())


async def test_the_virtual_clock_wakes_in_order_and_jumps_only_the_wall() -> None:
    clock = VirtualClock(start_ns=0)
    order: list[int] = []

    async def note(delay_s: int) -> None:
        await clock.sleep(delay_s)
        order.append(delay_s)

    tasks = [asyncio.get_running_loop().create_task(note(delay_s)) for delay_s in (3, 1, 2)]
    await asyncio.sleep(0)
    await clock.advance(2)
    assert order == [1, 2]
    clock.jump(-86_400)
    assert (clock.now_ns(), clock.monotonic_ns()) == (-86_398_000_000_000, 2_000_000_000)
    await clock.advance(1)
    await asyncio.gather(*tasks)
    assert order == [1, 2, 3]
    with contextlib.suppress(asyncio.CancelledError):
        await clock.sleep(0)

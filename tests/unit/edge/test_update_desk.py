"""The command `update` at an edge: when it is refused, and what is told of one that had begun when the edge ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millstream.bus import StreamApi
from millstream.config import EdgeConfig
from millstream.edge._command_types import Outcome
from millstream.edge._log import LineLog
from millstream.edge._update import UpdateDesk
from millstream.edge._update_ground import NodeToUpdate, UpdateGround
from millstream.kernel import PlantError
from millstream.protocols.command import Command
from millstream.release import ChoiceFile, Held, Launched, Trial, begin, confirm, fail, nothing_chosen, python_tag
from millstream.sdk.testing import LoopClock, run_virtual

DIGEST = "sha256:" + "a" * 64
NEW, OLD = Held("a" * 64, "2.0"), Held("", "1.0")
WORDS = ("python", "millstream", "edge", "-c", "edge.yaml")


@pytest.fixture(autouse=True)
def _files_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not wait for threads."""

    async def at_once(work: Any, *args: Any) -> Any:
        return work(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


@dataclass
class Edge:
    """One that runs `held`; `ailing` says why it is not well, and `linked` whether the hub is reached."""

    folder: Path
    held: Held = OLD
    phase: str = "settled"
    ailing: str | None = None
    linked: bool = True
    restarts: list[int] = field(default_factory=list)
    is_launched: bool = True
    has_hub: bool = True
    has_boxes: bool = False

    def __post_init__(self) -> None:
        self.file = ChoiceFile(self.folder)

    def desk(self, clock: LoopClock) -> UpdateDesk:
        raw: dict[str, Any] = {"edge": {"name": "e1", "path": "acme/e1", "data_dir": self.folder}}
        if self.has_boxes:
            members = {name: f"{name}:6222" for name in "abc"}
            raw["cluster"] = {"member": "a", "members": members, "secret": {"file": "site.secret"}}
        keeper: Any = SimpleNamespace(state=SimpleNamespace(phase=self.phase))
        launched = Launched(WORDS, WORDS[2:], "1.0", self.held) if self.is_launched else None
        hub = StreamApi(SimpleNamespace(), "hub") if self.has_hub else None  # type: ignore[arg-type]
        works: Any = SimpleNamespace(
            up=lambda: ("boiler",),
            ailing=lambda names, known: self.ailing,
            config=SimpleNamespace(connectors=[], flows=[]),
        )
        uplink = SimpleNamespace(uplink=SimpleNamespace(state="idle" if self.linked else "cut"))
        node = NodeToUpdate(works, keeper, lambda: uplink, lambda: self.restarts.append(1))  # type: ignore[arg-type,return-value]
        ground = UpdateGround(EdgeConfig.model_validate(raw), launched, hub, keeper)
        return UpdateDesk(ground, node, clock=clock, log=LineLog("e1", lambda *_, **__: None))


def command(**args: Any) -> Command:
    return Command("c1", "update", "ada", 1, 10**18, {"package": DIGEST, **args})


@pytest.mark.parametrize(("edge", "args", "code", "said"), [
    ({"is_launched": False}, {}, "MS-2454", "not started by `millstream edge`"),
    ({"has_hub": False}, {}, "MS-2454", "no hub"),
    ({"has_boxes": True}, {}, "MS-2454", "one of several boxes of a site"),
    ({"phase": "watching"}, {}, "MS-2454", "a configuration from the hub is watching"),
    ({}, {"package": "sha256:abc"}, "MS-2304", "not a release"),
    ({}, {"healthy_within": "soon"}, "MS-2304", "no such time"),
    ({}, {"healthy_within": "2d"}, "MS-2304", "no such time"),
])  # fmt: skip
def test_an_update_that_cannot_be_is_refused_before_it_begins(
    tmp_path: Path, edge: dict[str, Any], args: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(PlantError) as error:
        Edge(tmp_path, **edge).desk(LoopClock()).command().admit(command(**args), None)  # type: ignore[arg-type]
    assert error.value.code == code
    assert said in str(error.value)


def ends(edge: Edge, *, within_s: float = 100.0) -> Outcome | None:
    """How a command ends that had begun before; None: this process is to end first."""

    async def work() -> Outcome | None:
        resume = edge.desk(LoopClock()).command().resume
        assert resume is not None
        task = asyncio.ensure_future(resume(command(), None).run())  # type: ignore[arg-type]
        await asyncio.wait([task], timeout=within_s)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None

    return run_virtual(work())


FIRST = nothing_chosen("1.0", python_tag())
TRIAL = Trial(NEW, "c1", 20_000, ("boiler",), needs_hub=True)


def test_what_was_not_switched_has_failed_and_nothing_was_changed(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    for choice in (None, FIRST, fail(begin(FIRST, Trial(NEW, "another", 1)), "ill", 1)):
        if choice is not None:
            edge.file.write(choice)
        found = ends(edge)
        assert found is not None
        assert (found.state, found.code) == ("failed", "MS-2456")
    assert edge.restarts == []


def test_a_version_that_is_well_is_confirmed_and_old_ones_go(tmp_path: Path) -> None:
    edge = Edge(tmp_path, held=NEW)
    edge.file.write(begin(FIRST, TRIAL))
    for name in (NEW.folder, "b" * 64):
        (edge.file.folder / name).mkdir()
    found = ends(edge)
    assert found == Outcome("done", result={"version": "2.0", "before": "1.0"})
    choice = edge.file.read()
    assert choice is not None
    assert (choice.runs, choice.trial) == (NEW, None)
    assert edge.file.present() == {NEW.folder}
    assert ends(edge) == found, "said again after a kill right behind it"


@pytest.mark.parametrize("ill", [{"ailing": "connector boiler is waiting"}, {"linked": False}])
def test_a_version_that_is_not_well_in_its_time_ends_and_the_one_before_says_so(
    tmp_path: Path, ill: dict[str, Any]
) -> None:
    edge = Edge(tmp_path, held=NEW, **ill)
    edge.file.write(begin(FIRST, TRIAL))
    assert ends(edge, within_s=19.0) is None
    assert edge.restarts == []
    assert ends(edge) is None, "it waits for its own end"
    assert edge.restarts == [1]
    found = ends(Edge(tmp_path))
    assert found is not None
    assert (found.state, found.code) == ("failed", "MS-2455")
    assert "2.0 was taken back, 1.0 runs again: not healthy after 20 s" in str(found.reason)


def test_a_trial_that_something_else_has_not_started_is_given_up(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    edge.file.write(begin(FIRST, TRIAL))
    found = ends(edge)
    assert found is not None
    assert (found.state, found.code) == ("failed", "MS-2455")
    assert "other means" in str(found.reason)
    edge.file.write(confirm(begin(FIRST, TRIAL), 1))
    assert ends(edge) == Outcome("done", result={"version": "2.0", "before": "1.0"})

"""A tool in its cut: what is told of breaks, wear and cuts of which nothing can be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from millstream.flow import Event, Flow, Input
from millstream.flow._model import STATE_BYTES_MAX, Emit, EmitEvent
from millstream.flow.library import FLOW_TYPES
from millstream.kernel import ConfigError
from millstream.model import GOOD, Quality
from millstream.sim.cutting import FINISHING, PART, ROUGHING, Made, Mill, Work, features, shift

BASE_NS = 1_767_225_600_000_000_000
MS_NS = 1_000_000
MILL = "acme/plant1/mill"
BAD = Quality(0x80000000)


def flow(**config: Any) -> Flow[Any]:
    """Of one load and the controller's tags."""
    whole = {
        "loads": {"level": "force/mean", "swing": "force/rms"}, "tool": "tool", "operation": {"program": "program"},
        "cutting": "cutting", **config,
    }  # fmt: skip
    return FLOW_TYPES["tool"].make("f", [Input("acme/**")], {k: v for k, v in whole.items() if v is not None})


class Bench:
    """A flow whose state is encoded after each event, as it is when its process may be killed there."""

    def __init__(self, **config: Any) -> None:
        self._flow = flow(**config)
        self._state = msgspec.msgpack.encode(self._flow.initial())
        self.told: list[EmitEvent] = []
        self.figures: list[Emit] = []

    def hear(self, name: str, value: Any, time_ns: int, quality: Quality = GOOD) -> None:
        """One sample."""
        state = msgspec.msgpack.decode(self._state, type=self._flow.state_type)
        event = Event(MILL, "tag", time_ns, value, quality, f"{MILL}:{name}")
        state, effects = self._flow.step(state, event)
        self._state = msgspec.msgpack.encode(state)
        assert len(self._state) < STATE_BYTES_MAX
        self.told += [each for each in effects if isinstance(each, EmitEvent)]
        self.figures += [each for each in effects if isinstance(each, Emit)]

    def cut(self, made: Made, *, program: str = "O100", leave_out: Sequence[int] = (), bad: int = -1) -> None:
        """One cut as the machine tells it: features of 50 ms, without some of them."""
        begin_ns = int(made.times_ns[0])
        events: list[tuple[int, str, Any, Quality]] = [
            (begin_ns, "tool", made.work.tool, GOOD), (begin_ns, "program", program, GOOD),
            (made.start_ns, "cutting", True, GOOD), (made.end_ns, "cutting", False, GOOD),
        ]  # fmt: skip
        for number, (at_ns, rms, mean) in enumerate(features(made, 50)):
            quality = BAD if number == bad else GOOD
            if number not in leave_out:
                events += [(at_ns, "force/mean", mean, quality), (at_ns, "force/rms", rms, quality)]
        for at_ns, name, value, quality in sorted(events, key=lambda each: each[0]):
            self.hear(name, value, at_ns, quality)

    def learn(self, mill: Mill, work: Work = ROUGHING) -> None:
        """Five good cuts."""
        for _ in range(5):
            self.cut(mill.cut(work))

    @property
    def cuts(self) -> list[tuple[str, str | None]]:
        """Result and reason of each."""
        return [(e.data["result"], e.data.get("why")) for e in self.told if e.type == "millstream.tool.cut"]

    def alarms(self, name: str) -> list[str]:
        """What became of an alarm."""
        return [e.data["change"] for e in self.told if e.kind == "alarm" and e.path == f"{MILL}:tool/{name}"]

    def raised_ns(self, name: str) -> list[int]:
        """When it was raised."""
        path = f"{MILL}:tool/{name}"
        return [e.time_ns for e in self.told if e.kind == "alarm" and e.path == path and e.data["change"] == "raised"]


@pytest.fixture
def learnt() -> tuple[Bench, Mill]:
    bench, mill = Bench(), Mill(1, BASE_NS)
    bench.learn(mill)
    return bench, mill


def test_a_signature_is_learnt_and_a_good_cut_has_its_wear(learnt: tuple[Bench, Mill]) -> None:
    bench, mill = learnt
    assert [result for result, _ in bench.cuts] == ["learning"] * 5
    assert [e.data["cuts"] for e in bench.told if e.type == "millstream.tool.learnt"] == [5]
    bench.cut(mill.cut(ROUGHING))
    assert bench.cuts[-1][0] == "good"
    (wear,) = [e for e in bench.figures if e.path == f"{MILL}:tool/3/wear"]
    assert wear.value == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("work", PART)
@pytest.mark.parametrize("at", [0.15, 0.5, 0.85])
def test_a_broken_tool_is_told_within_100_ms_of_the_sample(work: Work, at: float) -> None:
    """With features of 50 ms: at the end of the window that has the break in it, or of the one after it."""
    bench, mill = Bench(), Mill(2, BASE_NS)
    bench.learn(mill, work)
    made = mill.cut(work, breaks="tool", at=at)
    assert made.broken is not None
    bench.cut(made)
    (raised_ns,) = bench.raised_ns("broken")
    assert 0 <= raised_ns - made.broken[0] <= 100 * MS_NS
    assert bench.cuts[-1][0] == "broken"


def test_a_shift_of_breaks_has_few_misses_and_no_false_alarm() -> None:
    """Seeds that nothing was chosen by: all whole tools that break, most teeth, and never a good one."""
    bench, missed, breaks = Bench(), 0, 0
    for made in shift(77, 30, 5, 0.3):
        before = len(bench.raised_ns("broken"))
        bench.cut(made)
        is_told = len(bench.raised_ns("broken")) > before
        assert made.broken is not None or not is_told
        breaks += made.broken is not None
        missed += made.broken is not None and not is_told
    assert breaks >= 10
    assert missed <= breaks // 10


def test_a_worn_tool_is_told_after_whole_cuts_and_a_fresh_one_clears_it() -> None:
    bench, mill = Bench(life="serial"), Mill(3, BASE_NS)
    bench.hear("serial", "A1", BASE_NS)
    bench.learn(mill)
    for step in range(0, 30, 2):
        bench.cut(mill.cut(ROUGHING, wear=1 + 0.02 * step))
    assert bench.alarms("worn") == ["raised"]
    assert bench.alarms("broken") == []
    made = mill.cut(ROUGHING)
    bench.hear("serial", "A2", int(made.times_ns[0]))
    assert bench.alarms("worn") == ["raised", "returned"]
    bench.cut(made)
    (last,) = [e for e in bench.told if e.type == "millstream.tool.cut"][-1:]
    assert (last.data["tool_cuts"], last.data["result"]) == (1, "good")


def test_a_gap_or_a_bad_value_within_a_cut_makes_it_unknown_and_no_alarm(learnt: tuple[Bench, Mill]) -> None:
    bench, mill = learnt
    bench.cut(mill.cut(ROUGHING, breaks="tool"), leave_out=range(25, 40))
    bench.cut(mill.cut(ROUGHING, breaks="tool", at=0.7), bad=30)
    results = bench.cuts[-2:]
    assert [result for result, _ in results] == ["unknown", "unknown"]
    assert "missing for 0.8 s" in str(results[0][1])
    assert results[1][1] == "level was bad"
    assert bench.raised_ns("broken") == []


def test_another_program_a_feed_override_and_an_unknown_tool_are_not_judged(learnt: tuple[Bench, Mill]) -> None:
    bench, mill = learnt
    bench.cut(mill.cut(ROUGHING, breaks="tool"), program="O200")
    assert bench.cuts[-1] == ("learning", "1 of 5 cuts alike")
    bench.cut(mill.cut(ROUGHING, feed=0.7))
    assert bench.cuts[-1] == ("unknown", "the cut usually takes 3.197 s")
    bench.hear("tool", None, BASE_NS, BAD)
    made = mill.cut(ROUGHING, breaks="tool")
    for at_ns, rms, mean in features(made, 50):
        bench.hear("cutting", made.start_ns <= at_ns < made.end_ns, at_ns)
        bench.hear("force/mean", mean, at_ns)
        bench.hear("force/rms", rms, at_ns)
    assert bench.cuts[-1] == ("unknown", "no tool is known")
    assert bench.raised_ns("broken") == []


def test_a_tool_that_changes_within_a_cut_makes_it_unknown(learnt: tuple[Bench, Mill]) -> None:
    bench, mill = learnt
    made = mill.cut(ROUGHING)
    bench.hear("tool", 3, int(made.times_ns[0]))
    bench.hear("cutting", True, made.start_ns)
    bench.hear("tool", 7, made.start_ns + 500 * MS_NS)
    bench.hear("cutting", False, made.end_ns)
    assert bench.cuts[-1] == ("unknown", "tool changed within the cut")
    assert [e.value for e in bench.figures if e.path == f"{MILL}:tool/state"][-3:] == ["watching", "unknown", "idle"]


def test_a_cut_that_is_stopped_on_purpose_takes_its_alarm_back(learnt: tuple[Bench, Mill]) -> None:
    """The load is gone, and the controller's word that it does not cut any more comes 60 ms later."""
    bench, mill = learnt
    made = mill.cut(ROUGHING)
    stop_ns = made.start_ns + 1_600 * MS_NS
    bench.hear("tool", 3, int(made.times_ns[0]))
    for at_ns, rms, mean in features(made, 50):
        if at_ns > stop_ns + 60 * MS_NS:
            break
        if at_ns > made.start_ns:
            bench.hear("cutting", True, made.start_ns)
        is_gone = at_ns > stop_ns
        bench.hear("force/mean", 12.0 if is_gone else mean, at_ns)
        bench.hear("force/rms", 1.0 if is_gone else rms, at_ns)
    bench.hear("cutting", False, stop_ns + 60 * MS_NS)
    assert bench.alarms("broken") == ["raised", "returned"]
    assert bench.cuts[-1] == ("unknown", "it ended as the load went")


def test_cuts_that_are_not_alike_are_not_learnt_from() -> None:
    bench, mill = Bench(), Mill(4, BASE_NS)
    for number in range(5):
        bench.cut(mill.cut(ROUGHING, wear=1 + number))
    assert [e for e in bench.told if e.type == "millstream.tool.learnt"] == []
    bench.learn(mill)
    assert [e for e in bench.told if e.type == "millstream.tool.learnt"] != []


def test_one_broken_tool_among_those_learnt_from_does_not_count() -> None:
    bench, mill = Bench(), Mill(5, BASE_NS)
    for number in range(5):
        bench.cut(mill.cut(ROUGHING, breaks="tool" if number == 2 else "", at=0.3))
    bench.cut(mill.cut(ROUGHING))
    assert bench.cuts[-1][0] == "good"
    bench.cut(mill.cut(ROUGHING, breaks="tool"))
    assert bench.cuts[-1][0] == "broken"


def test_the_load_tells_when_it_cuts_where_no_tag_does() -> None:
    bench, mill = Bench(cutting=None, cut_above=100, cut_pause="300ms"), Mill(6, BASE_NS)
    bench.learn(mill)
    bench.cut(mill.cut(ROUGHING))
    assert [result for result, _ in bench.cuts] == ["learning"] * 5 + ["good"]
    made = mill.cut(ROUGHING, breaks="tool", at=0.6)
    assert made.broken is not None
    bench.cut(made)
    (raised_ns,) = bench.raised_ns("broken")
    assert raised_ns - made.broken[0] <= 100 * MS_NS


def test_the_operation_that_was_cut_longest_ago_is_forgotten() -> None:
    bench, mill = Bench(operations=2), Mill(7, BASE_NS)
    bench.learn(mill)
    bench.cut(mill.cut(FINISHING))
    bench.cut(mill.cut(ROUGHING))
    bench.cut(mill.cut(ROUGHING), program="O200")
    forgotten = [e.data for e in bench.told if e.type == "millstream.tool.forgotten"]
    assert forgotten == [{"tool": "7", "operation": {"program": "O100"}}]


def test_a_cut_without_end_and_as_many_operations_as_can_be_stay_within_the_state() -> None:
    bench = Bench(operations=60, bins=16, resolution="10ms", gap="1h")
    for operation in range(70):
        at_ns = BASE_NS + operation * 10_000_000 * MS_NS
        bench.hear("program", f"O{operation}", at_ns)
        bench.hear("tool", operation, at_ns)
        for _ in range(4):
            at_ns += MS_NS
            bench.hear("cutting", True, at_ns)
            for second in range(40):
                at_ns += 37 * MS_NS * (1 + second)
                bench.hear("force/mean", 100.0, at_ns)
                bench.hear("force/rms", 10.0, at_ns)
            bench.hear("cutting", False, at_ns)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"loads": {f"n{i}": f"t{i}" for i in range(5)}}, "at most 4 loads"),
        ({"cut_above": 5}, "either cutting or cut_above"),
        ({"cutting": None}, "either cutting or cut_above"),
        ({"cutting": "tool"}, "two names for one tag"),
        ({"output": "{name}/t"}, "plain name"),
        ({"operations": 200, "bins": 128, "learn": 20}, "are kept for a machine"),
        ({"shock": 1}, "greater than 1"),
    ],
)
def test_what_cannot_be_watched_is_refused(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        flow(**config)

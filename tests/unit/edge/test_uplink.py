"""What cursors and log lines say about the way to the hub."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random

from millstream.bus import StreamBounds, StreamInfo, integrity_stream, trim_below
from millstream.edge._uplink import (
    REDIAL_CEILING_S,
    CursorWatch,
    LinkEar,
    Redials,
    Refusals,
    StreamFlow,
    judge,
    redial_pauses,
    stuck_s,
)

_S = 1_000_000_000


def _info(last_seq: int, *, first_seq: int = 1, size: int = 0, bounds: StreamBounds | None = None) -> StreamInfo:
    config = integrity_stream("E_e1_I", bounds or StreamBounds(1000))
    return StreamInfo("E_e1_I", "t1", last_seq - first_seq + 1, size, first_seq, last_seq, config, {})


def _flow(watch: CursorWatch, info: StreamInfo, *, is_sourced: bool = True, age_ms: int = 0) -> StreamFlow:
    return StreamFlow(watch, info, is_sourced, age_ms, None)


def _redials(hang_s: float, seed: int) -> Redials:
    return Redials(replace(redial_pauses(hang_s), rng=Random(seed)))


def test_a_cursor_that_moves_is_flowing_and_one_that_has_all_is_idle() -> None:
    watch = CursorWatch()
    watch.note(5, 10, 1 * _S)
    assert judge([_flow(watch, _info(10))], is_hub_there=True, is_hung=False, now_ns=1 * _S).state == "flowing"
    watch.note(10, 10, 2 * _S)
    status = judge([_flow(watch, _info(10))], is_hub_there=True, is_hung=False, now_ns=9 * _S)
    assert (status.state, status.behind_messages, status.cursor_seq) == ("idle", 0, 10)


def test_old_waiting_data_is_behind_and_a_silent_hub_is_cut() -> None:
    watch = CursorWatch()
    watch.note(5, 10, 1 * _S)
    flow = _flow(watch, _info(10), age_ms=5000)
    assert judge([flow], is_hub_there=True, is_hung=False, now_ns=1 * _S).state == "behind"
    assert judge([flow], is_hub_there=False, is_hung=False, now_ns=1 * _S).state == "cut"
    assert judge([flow], is_hub_there=True, is_hung=True, now_ns=1 * _S).state == "hung"


def test_what_was_stored_since_the_cursor_was_told_is_no_backlog() -> None:
    """Two counters, looked at a moment apart, at 500 messages a second over a link that is well."""
    watch = CursorWatch()
    watch.note(900, 1000, 1 * _S)
    for second in range(2, 20):
        told_ns = second * _S - _S // 5  # told 0.2 s before the check, of what had come by then
        watch.note(500 * second + 400, 500 * second + 500, second * _S, told_ns)
        assert watch.waiting(_info(500 * second + 500)) == 0
    watch.note(5000, 10500, 20 * _S, 20 * _S - _S // 5)  # the hub has 5,000 of the 10,000 that stood there at 19 s
    assert watch.waiting(_info(10500)) == 5000
    watch.note(10400, 10500, 21 * _S, 21 * _S - _S // 5)  # it stands still: what is not told of is on its way
    assert watch.waiting(_info(10500)) == 100


def test_all_waits_since_a_hub_that_is_silent_told_its_cursor() -> None:
    watch = CursorWatch()
    watch.note(1000, 1000, 1 * _S)
    watch.note(None, 3000, 5 * _S, None)
    assert watch.waiting(_info(3000)) == 2000


def test_a_cursor_that_stands_while_messages_wait_is_stuck() -> None:
    watch = CursorWatch()
    watch.note(5, 5, 1 * _S)
    watch.note(5, 10, 2 * _S)
    watch.note(5, 12, 20 * _S)
    flows = [_flow(watch, _info(12))]
    assert stuck_s(flows, is_hub_there=True, now_ns=22 * _S) == 20.0
    watch.note(6, 12, 23 * _S)
    assert stuck_s(flows, is_hub_there=True, now_ns=24 * _S) == 1.0
    watch.note(12, 12, 25 * _S)
    assert stuck_s(flows, is_hub_there=True, now_ns=99 * _S) == 0.0


def test_a_stream_that_the_hub_does_not_source_yet_is_no_reason_to_dial_again() -> None:
    watch = CursorWatch()
    watch.note(None, 10, 1 * _S)
    flows = [_flow(watch, _info(10), is_sourced=False)]
    assert stuck_s(flows, is_hub_there=True, now_ns=60 * _S) == 0.0
    assert stuck_s(flows, is_hub_there=False, now_ns=61 * _S) == 60.0


def test_a_link_that_hangs_is_dialled_at_once_and_then_ever_more_rarely() -> None:
    redials = _redials(15.0, 1)
    acts = [(now_s, act) for now_s in range(7200) if (act := redials.hung(now_s * _S)) != "wait"]
    assert acts[0] == (0, "dial")
    pauses_s = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(acts)]
    for number, pause_s in enumerate(pauses_s):
        step_s = min(REDIAL_CEILING_S, 30.0 * 2**number)
        assert step_s / 2 <= pause_s <= step_s + 1
    assert [act for _, act in acts[:8]] == ["dial", "dial", "dial", "restart"] * 2


def test_two_sites_of_one_slow_hub_do_not_dial_in_step() -> None:
    sites = [_redials(15.0, seed) for seed in range(20)]
    dials = [[s for s in range(600) if site.hung(s * _S) != "wait"] for site in sites]
    assert len({tuple(each) for each in dials}) == len(sites)
    assert max(len(each) for each in dials) <= 7  # of 40 without a growing pause


def test_only_data_that_has_flowed_for_as_long_as_the_last_pause_ends_the_trouble() -> None:
    redials = _redials(1.0, 1)
    for now_s in (0, 10, 20):
        assert redials.hung(now_s * _S) == "dial"  # the pause after the third is 4 to 8 s
    redials.good(21 * _S)
    redials.good(22 * _S)
    assert redials.hung(30 * _S) == "restart"  # flowed for one second only: it goes on where it was
    redials.good(31 * _S)
    redials.good(48 * _S)
    assert redials.hung(49 * _S) == "dial"
    assert redials.hung(51 * _S + 1) == "dial"  # and the pauses are short again


def test_a_link_over_which_something_comes_hangs_later_than_a_silent_one() -> None:
    def hung_at_s(counts: list[int | None]) -> int | None:
        ear = LinkEar(4.0)
        return next((s for s, count in enumerate(counts) if ear.is_hung(float(s), count, s * _S)), None)

    assert hung_at_s([7] * 30) == 5
    assert hung_at_s(list(range(30))) == 17
    assert hung_at_s([*range(10), *[0] * 20]) == 13  # a new link counts from 0, and carries nothing
    assert hung_at_s([None] * 30) is None


def test_the_cursor_is_kept_while_the_hub_is_away() -> None:
    watch = CursorWatch()
    watch.note(5, 10, 1 * _S)
    watch.note(None, 20, 2 * _S)
    assert watch.waiting(_info(20)) == 15
    assert watch.waiting(_info(20, first_seq=18)) == 3  # the rest was dropped by the stream's bound


def test_a_nearly_full_block_stream_gives_up_only_what_the_hub_has() -> None:
    bounds = StreamBounds(1000 << 20)
    full = _info(100, size=900 << 20, bounds=bounds)
    assert trim_below(_info(100, size=600 << 20, bounds=bounds), 100) is None  # not yet
    assert trim_below(full, 100) == 45  # down to half of the bound
    assert trim_below(full, 10) == 11  # but never what the hub does not have
    assert trim_below(full, 0) is None
    dropping = StreamBounds(1000 << 20, None, "drop_oldest")
    assert trim_below(_info(100, size=900 << 20, bounds=dropping), 100) is None


def test_a_small_block_stream_always_has_room_for_the_next_batches() -> None:
    """A batch that does not fit any more would block the stream for ever, long before it is nearly full."""
    bounds = StreamBounds(48 << 20)
    assert trim_below(_info(100, size=20 << 20, bounds=bounds), 100) is not None
    assert trim_below(_info(100, size=10 << 20, bounds=bounds), 100) is None


def test_a_refusal_is_known_from_the_servers_log_and_fades() -> None:
    refusals = Refusals()
    refusals.feed(["[1] d t [ERR] 127.0.0.1:7422 - lid:6 - Leafnode Error 'Authorization Violation'"], 1 * _S)
    assert refusals.is_leaf_refused
    refusals.feed(["[1] d t [INF] 127.0.0.1:7422 - lid:8 - Leafnode connection created"], 60 * _S)
    assert not refusals.is_leaf_refused


def test_a_refused_mqtt_publish_is_known_by_its_subject() -> None:
    refusals = Refusals()
    refusals.feed(['[1] d t [ERR] 127.0.0.1:1 - mid:32 - "dev1" - Publish Violation - Subject "uns.v1.a"'], _S)
    assert refusals.mqtt_subject == "uns.v1.a"

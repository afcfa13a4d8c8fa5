"""Which requests read a set of S7 points, against what is possible at best."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.protocols.s7_address import Point, parse_address
from millstream.protocols.s7_plan import Block, PlanLimits, pack_blocks, plan_blocks, split_block


def points(*texts: str) -> list[Point]:
    """Parsed."""
    return [parse_address(text) for text in texts]


def planned(made: list[Point], limits: PlanLimits) -> tuple[int, int]:
    """Requests of one scan, and the least possible for these blocks."""
    blocks = plan_blocks(made, limits)
    return len(pack_blocks(blocks, made, limits)), at_least(blocks, limits)


def at_least(blocks: list[Block], limits: PlanLimits) -> int:
    """No packing needs fewer requests: each holds so many items and bytes."""
    total = sum(4 + block.size_bytes for block in blocks)
    return max(math.ceil(len(blocks) / limits.items_count_max), math.ceil(total / (limits.pdu_bytes - 14)))


def test_neighbours_and_small_gaps_become_one_block() -> None:
    found = plan_blocks(points("DB1.DBD40", "DB1.DBX0.1", "DB1.DBX0.2", "DB1.DBW6"), PlanLimits(480, 32))
    assert [(b.start, b.size_bytes, b.members) for b in found] == [(0, 44, (1, 2, 3, 0))]


@pytest.mark.parametrize(("gap", "blocks_count"), [(32, 1), (33, 2)])
def test_a_gap_of_32_bytes_is_read_along_and_one_of_33_is_not(gap: int, blocks_count: int) -> None:
    assert len(plan_blocks(points("DB1.DBB0", f"DB1.DBB{1 + gap}"), PlanLimits(480, 32))) == blocks_count


def test_areas_and_data_blocks_are_never_joined() -> None:
    made = points("DB1.DBB0", "DB2.DBB0", "MB0", "IB0", "QB0")
    assert [block.size_bytes for block in plan_blocks(made, PlanLimits(480))] == [1] * 5
    assert planned(made, PlanLimits(480)) == (1, 1)


@pytest.mark.parametrize("pdu", [112, 240, 480, 960])
def test_no_block_is_larger_than_the_answer_to_one_request(pdu: int) -> None:
    limits = PlanLimits(pdu)
    made = points(*(f"DB1.DBD{4 * i}:REAL" for i in range(500)))
    assert max(block.size_bytes for block in plan_blocks(made, limits)) <= pdu - 18
    assert planned(made, limits)[0] == math.ceil(500 / ((pdu - 18) // 4))


def test_two_hundred_tags_in_three_data_blocks_need_two_requests_at_pdu_480() -> None:
    """3 x 67 REAL are 804 bytes of values; one answer holds 466: two requests are the least, and two are made."""
    made = points(*(f"DB{1 + i % 3}.DBD{4 * (i // 3)}:REAL" for i in range(200)))
    assert len(plan_blocks(made, PlanLimits(480))) == 3
    assert planned(made, PlanLimits(480)) == (2, 2)


def test_scattered_tags_share_requests_twenty_at_a_time() -> None:
    assert planned(points(*(f"DB1.DBW{100 * i}" for i in range(200))), PlanLimits(480)) == (10, 10)


def test_a_device_that_takes_one_block_in_a_request_gets_one() -> None:
    assert planned(points("DB1.DBB0", "MB0"), PlanLimits(480, items_count_max=1)) == (2, 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_layout_needs_at_most_a_twentieth_more_requests_than_the_least_possible(seed: int) -> None:
    """10,000 tags of 1 to 40 bytes scattered over ten blocks."""
    rng = random.Random(seed)
    kinds = ("DBB{}", "DBW{}:INT", "DBD{}:REAL", "DBB{}:LREAL", "DBB{}:STRING[38]")
    texts = [f"DB{rng.randint(1, 10)}." + rng.choice(kinds).format(2 * rng.randrange(30_000)) for _ in range(10_000)]
    made, least = planned(points(*texts), PlanLimits(480))
    assert made <= 1.05 * least, f"{made} requests, {least} at least"


def test_a_point_larger_than_one_answer_is_read_in_parts_that_nothing_joins() -> None:
    found = plan_blocks(points("DB1.DBB0:WSTRING[400]", "DB1.DBB804", "DB1.DBB2"), PlanLimits(480))
    assert [(b.start, b.size_bytes, b.members, b.is_part) for b in found] == [
        (0, 462, (0,), True),
        (462, 342, (0,), True),
        (2, 1, (2,), False),
        (804, 1, (1,), False),
    ]


def test_a_refused_block_is_cut_at_its_widest_gap_until_one_point_is_left() -> None:
    made = points("DB1.DBW0", "DB1.DBW2", "DB1.DBW30", "DB1.DBW32")
    (whole,) = plan_blocks(made, PlanLimits(480))
    first, second = split_block(whole, made)
    assert [(b.start, b.size_bytes, b.members) for b in (first, second)] == [(0, 4, (0, 1)), (30, 4, (2, 3))]
    assert [b.members for b in split_block(second, made)] == [(2,), (3,)]
    (single,) = split_block(Block(whole.area, 1, 0, 2, (0,)), made)
    assert single.members == (0,)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2000), st.integers(1, 300)), min_size=1, max_size=60),
    st.sampled_from([112, 240, 480, 960]),
    st.integers(0, 64),
)
def test_every_point_lies_in_its_block_and_every_request_and_answer_fits_the_pdu(
    places: list[tuple[int, int, int]], pdu: int, gap: int
) -> None:
    made = points(*(f"DB{db}.DBB{byte}:BYTE[{size}]" for db, byte, size in places))
    limits = PlanLimits(pdu, gap)
    blocks = plan_blocks(made, limits)
    requests = pack_blocks(blocks, made, limits)
    covered: dict[int, int] = {}
    for block in (block for request in requests for block in request):
        assert block.size_bytes <= limits.block_bytes_max
        for index in block.members:
            point = made[index]
            assert point.block == (block.area, block.db)
            assert block.is_part or block.start <= point.byte < point.end <= block.end
            covered[index] = covered.get(index, 0) + (block.size_bytes if block.is_part else point.size_bytes)
    assert covered == {index: point.size_bytes for index, point in enumerate(made)}
    for request in requests:
        assert 14 + 12 * len(request) <= pdu
        *before, last = request
        assert 14 + sum(4 + b.size_bytes + b.size_bytes % 2 for b in before) + 4 + last.size_bytes <= pdu

"""Which requests read a set of S7 points: pure, no I/O.

Neighbours become one block; several blocks, of whatever area, share one request ("read var" with up to 20 items). A
request costs the PLC and the network the same whether it brings 2 bytes or 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from millstream.protocols.s7_address import Area, Point

ITEMS_COUNT_MAX = 20  # what every CPU takes in one request
ANSWER_HEADER_BYTES = 14  # header 12, function and item count
ITEM_HEADER_BYTES = 4  # return code, transport size, length
BLOCK_OVERHEAD_BYTES = ANSWER_HEADER_BYTES + ITEM_HEADER_BYTES
_REQUEST_HEADER_BYTES = 14
_REQUEST_ITEM_BYTES = 12


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive bytes that are asked for as one item; `members` are indices into the caller's points.

    `is_part`: its only member is larger than one answer, and this is a part of it.
    """

    area: Area
    db: int
    start: int
    size_bytes: int
    members: tuple[int, ...]
    is_part: bool = False

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.size_bytes


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """How large an answer may be (the negotiated PDU), and how far apart two points may lie to share a block."""

    pdu_bytes: int = 240
    gap_bytes_max: int = 32
    items_count_max: int = ITEMS_COUNT_MAX

    @property
    def block_bytes_max(self) -> int:
        """The largest block that fits an answer."""
        return self.pdu_bytes - BLOCK_OVERHEAD_BYTES


def plan_blocks(points: Sequence[Point], limits: PlanLimits) -> list[Block]:
    """The fewest blocks that hold all points, by area, block and address. O(n log n).

    A point larger than one answer is spread over several blocks, all of which have it as their only member.
    """
    order = sorted(
        range(len(points)), key=lambda i: (points[i].area.value, points[i].db, points[i].byte, points[i].end)
    )
    blocks: list[Block] = []
    for index in order:
        point = points[index]
        if point.size_bytes > limits.block_bytes_max:
            blocks.extend(_spread(point, index, limits.block_bytes_max))
            continue
        joined = _join(blocks[-1], point, index, limits) if blocks else None
        if joined is None:
            blocks.append(Block(point.area, point.db, point.byte, point.size_bytes, (index,)))
        else:
            blocks[-1] = joined
    return blocks


def _spread(point: Point, index: int, size_max: int) -> list[Block]:
    return [
        Block(point.area, point.db, start, min(size_max, point.end - start), (index,), True)
        for start in range(point.byte, point.end, size_max)
    ]


def _join(last: Block, point: Point, index: int, limits: PlanLimits) -> Block | None:
    end = max(last.end, point.end)
    is_apart = (last.area, last.db) != point.block or point.byte - last.end > limits.gap_bytes_max
    if is_apart or last.is_part or end - last.start > limits.block_bytes_max:
        return None
    return replace(last, size_bytes=end - last.start, members=(*last.members, index))


def pack_blocks(blocks: Sequence[Block], points: Sequence[Point], limits: PlanLimits) -> list[tuple[Block, ...]]:
    """The blocks in few requests, in their order: each request is filled up, where need be with a part of a block."""
    items_max = min(limits.items_count_max, (limits.pdu_bytes - _REQUEST_HEADER_BYTES) // _REQUEST_ITEM_BYTES)
    done: list[tuple[Block, ...]] = []
    filling: list[Block] = []
    room = limits.pdu_bytes - ANSWER_HEADER_BYTES
    waiting = list(blocks[::-1])
    while waiting:
        block = waiting.pop()
        if len(filling) < items_max:
            fitting = _cut(block, points, room - ITEM_HEADER_BYTES)
            if fitting:
                head, *rest = fitting
                filling.append(head)
                # Each item but the last is filled up to an even length.
                room -= ITEM_HEADER_BYTES + head.size_bytes + head.size_bytes % 2
                waiting.extend(rest)
                continue
        done.append(tuple(filling))
        filling, room = [], limits.pdu_bytes - ANSWER_HEADER_BYTES
        waiting.append(block)
    return [*done, tuple(filling)] if filling else done


def _cut(block: Block, points: Sequence[Point], size_max: int) -> list[Block]:
    """As much of the block as fits, then the rest if there is one; nothing when nothing fits."""
    if block.size_bytes <= size_max:
        return [block]
    end = block.start
    for count, index in enumerate(() if block.is_part else block.members):
        end = max(end, points[index].end)
        if end - block.start > size_max:
            parts = (block.members[:count], block.members[count:]) if count else ()
            return [_span(block, part, points) for part in parts]
    return []


def split_block(block: Block, points: Sequence[Point]) -> tuple[Block, ...]:
    """Two halves for a refused block, cut at its widest gap, else in the middle; itself when it has one member."""
    if len(block.members) < 2:
        return (block,)
    members = list(block.members)
    ends: list[int] = []
    for index in members:
        ends.append(max(points[index].end, ends[-1] if ends else 0))
    middle = len(members) / 2

    def worth(at: int) -> tuple[int, float]:
        return max(points[members[at]].byte - ends[at - 1], 0), -abs(at - middle)

    cut = max(range(1, len(members)), key=worth)
    return tuple(_span(block, members[a:b], points) for a, b in ((0, cut), (cut, len(members))))


def _span(block: Block, members: Sequence[int], points: Sequence[Point]) -> Block:
    start = points[members[0]].byte
    end = max(points[index].end for index in members)
    return replace(block, start=start, size_bytes=end - start, members=tuple(members))

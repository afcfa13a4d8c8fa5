"""A session with a PLC: plan the requests, read them, say why a block is refused, and notice when the CPU stops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from millstream.connectors.s7._config import S7Config
from millstream.connectors.s7._faults import (
    BAD_NOT_WRITABLE,
    BAD_OUT_OF_SERVICE,
    OUT_OF_RANGE,
    block_error,
    item_quality,
)
from millstream.connectors.s7._link import WRITE_OVERHEAD_BYTES, Link
from millstream.kernel import DecodeError, PlantError
from millstream.model import (
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Sample,
    Value,
)
from millstream.protocols.s7_address import Area, Point, block_name, parse_address
from millstream.protocols.s7_plan import Block, PlanLimits, pack_blocks, plan_blocks, split_block
from millstream.protocols.s7_values import decode_point, encode_point
from millstream.protocols.s7_wire import DONE, Item
from millstream.sdk import ConnectorTools, NodeInfo, Tag, Write, WriteResult, given_value, write_in_turn

PLANS_COUNT_MAX = 64  # one for each set of tags asked together; a runtime has a handful of poll groups

Reading: TypeAlias = "tuple[Value | None, Quality]"


@dataclass(slots=True)
class _Plan:
    """The requests for one set of tags, cut down to what the PLC gives."""

    points: list[Point]
    requests: list[tuple[Block, ...]]


@dataclass(slots=True)
class _Scan:
    """One round over all requests: what it found, and the parts of points that are larger than one answer."""

    readings: list[Reading]
    parts: dict[int, dict[int, bytes]] = field(default_factory=dict)
    split: list[Block] = field(default_factory=list)
    made: list[Block] = field(default_factory=list)
    gone: set[Block] = field(default_factory=set)


class S7Session:
    """Polled, Writable, Browsable."""

    def __init__(self, link: Link, config: S7Config, tools: ConnectorTools) -> None:
        self._link = link
        self._config = config
        self._tools = tools
        self._limits = PlanLimits(link.pdu_bytes, config.gap_bytes_max, config.items_count_max)
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._closed: dict[tuple[Area, int], Quality] = {}  # blocks of which nothing can be read; bounded by the tags
        self._open: set[tuple[Area, int]] = set()  # blocks of which something was read
        self._told: set[Block] = set()  # blocks whose refusal was logged; bounded by the tags too
        self._state_due_ns: int | None = 0 if config.state_interval else None
        self._is_running = True

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order; without a source time, since the memory of a PLC has none.

        While the CPU is stopped all are bad: its memory holds what the program left there. Raises Unreachable,
        AuthError or ProtocolViolation when the link is gone.
        """
        await self._watch_state()
        if not self._is_running:
            return [Sample(tag.key, None, BAD_OUT_OF_SERVICE) for tag in tags]
        plan = self._plan(tags)
        scan = _Scan([(None, BAD_NO_COMMUNICATION)] * len(tags))
        pending = plan.requests
        while pending:
            scan.split = []
            for blocks, items in zip(pending, await self._link.read_blocks(pending), strict=True):
                for block, item in zip(blocks, items, strict=True):
                    await self._take(block, item, plan.points, scan)
            pending = pack_blocks(scan.split, plan.points, self._limits)
            scan.made.extend(block for request in pending for block in request)
        if scan.gone:
            asked = {block for request in plan.requests for block in request} | set(scan.made)
            kept = sorted(asked - scan.gone, key=lambda b: (b.area.value, b.db, b.start))
            plan.requests = pack_blocks(kept, plan.points, self._limits)
        return [Sample(tag.key, value, quality) for tag, (value, quality) in zip(tags, scan.readings, strict=True)]

    def _plan(self, tags: Sequence[Tag]) -> _Plan:
        key = tuple(f"{tag.key}\n{tag.address}" for tag in tags)
        plan = self._plans.get(key)
        if plan is None:
            points = [parse_address(tag.address) for tag in tags]
            plan = _Plan(points, pack_blocks(plan_blocks(points, self._limits), points, self._limits))
            if len(self._plans) >= PLANS_COUNT_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    async def _take(self, block: Block, item: Item, points: Sequence[Point], scan: _Scan) -> None:
        """Fill in the readings of the block's members; a refused block may be cut in two, to be read once more."""
        if item.code != DONE:
            if await self._may_be_cut(block, item.code):
                scan.split.extend(split_block(block, points))
                scan.gone.add(block)
                return
            quality = self._refused(block, item.code)
            for index in block.members:
                scan.readings[index] = (None, quality)
            return
        self._is_open(block)
        for index in block.members:
            point = points[index]
            at = point.byte - block.start
            raw = item.data[at : at + point.size_bytes]
            if block.is_part:
                parts = scan.parts.setdefault(index, {})
                parts[block.start] = item.data
                raw = b"".join(parts[start] for start in sorted(parts))
                if len(raw) != point.size_bytes:
                    continue
            scan.readings[index] = self._decoded(point, raw)

    def _decoded(self, point: Point, raw: bytes) -> Reading:
        try:
            return decode_point(point, raw, self._config.string_encoding), GOOD
        except DecodeError:
            return None, BAD_DECODING_ERROR

    async def _may_be_cut(self, block: Block, code: int) -> bool:
        """Whether a part of the block may be readable. Where nothing was read yet, its first byte tells."""
        key = block.area, block.db
        if code != OUT_OF_RANGE or key in self._closed:
            return False
        if key not in self._open:
            first = Block(block.area, block.db, 0, 1, ())
            code = (await self._link.read_blocks([(first,)]))[0][0].code
            if code != DONE:
                self._close(block, OUT_OF_RANGE, code)
                return False
            self._open.add(key)
        return len(block.members) > 1

    def _refused(self, block: Block, code: int) -> Quality:
        """The quality of a refused block's members. Told once: the whole block, or the bytes beyond its end."""
        key = block.area, block.db
        if key in self._closed:
            return self._closed[key]
        if code != OUT_OF_RANGE:
            return self._close(block, code, None)
        quality, error = block_error(
            f"{block_name(*key)}, bytes {block.start} to {block.end - 1}", code, DONE, self._link.where
        )
        if block not in self._told:
            self._told.add(block)
            self._tools.log.warning("bytes cannot be read", error=str(error))
        return quality

    def _close(self, block: Block, code: int, first_code: int | None) -> Quality:
        quality, error = block_error(block_name(block.area, block.db), code, first_code, self._link.where)
        self._closed[block.area, block.db] = quality
        self._tools.log.warning("block cannot be read", error=str(error))
        return quality

    def _is_open(self, block: Block) -> None:
        key = block.area, block.db
        self._open.add(key)
        if self._closed.pop(key, None) is not None:
            self._tools.log.info("block can be read again", block=block_name(*key))

    async def _watch_state(self) -> None:
        """Ask whether the CPU runs when it is time to; each time while it does not."""
        now_ns = self._tools.clock.monotonic_ns()
        if self._state_due_ns is None or (self._is_running and now_ns < self._state_due_ns):
            return
        state = await self._link.cpu_state()
        if state is None:
            self._state_due_ns = None
            self._tools.log.info("the cpu does not tell its mode; values of a stopped one will look good")
            return
        self._state_due_ns = now_ns + int(self._config.state_interval * 1e9)
        is_running, words = state
        if is_running and not self._is_running:
            self._tools.log.info("the cpu runs again", mode=words)
        elif not is_running and self._is_running:
            error = PlantError(
                "the cpu does not run", where=self._link.where, expected="run", got=words, code="MS-1209"
            )
            self._tools.log.warning("the cpu does not run", error=str(error))
        self._is_running = is_running

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One after the other, each checked by the PLC; a lost link fails it and all that follow."""
        return await write_in_turn(writes, self._write_one)

    async def _write_one(self, write: Write) -> WriteResult:
        point = parse_address(write.tag.address)
        if point.area is Area.INPUTS:
            return WriteResult(BAD_NOT_WRITABLE, "inputs cannot be written: the next cycle would undo it")
        try:
            patch = encode_point(point, given_value(write), self._config.string_encoding)
        except TypeError as error:
            return WriteResult(BAD_TYPE_MISMATCH, str(error))
        except OverflowError as error:
            return WriteResult(BAD_OUT_OF_RANGE, str(error))
        size_max = self._link.pdu_bytes - WRITE_OVERHEAD_BYTES
        if len(patch.data) > size_max:
            # In two requests the program might see the first half alone.
            return WriteResult(BAD_OUT_OF_RANGE, f"expected at most {size_max} bytes in one write")
        code = await self._link.write(point.area, point.db, patch)
        if code == DONE:
            return WriteResult(GOOD)
        quality, words = item_quality(code)
        return WriteResult(quality, words)

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The data blocks with their sizes, as lists of bytes: names and types stay in the engineering project.

        Raises PlantError when the CPU does not list them.
        """
        numbers = await self._link.data_blocks()
        if numbers is None:
            raise PlantError(
                "this CPU does not list its blocks",
                where=self._link.where,
                next_step="take the addresses from the engineering project",
                code="MS-0501",
            )
        for number in sorted(numbers):
            if root is not None and root.upper() != f"DB{number}":
                continue
            size = await self._link.data_block_bytes(number)
            shown = min(size or 1, self._limits.block_bytes_max)
            yield NodeInfo(
                address=f"DB{number}.DBB0:BYTE[{shown}]",
                name=f"DB{number}",
                data_type=f"BYTE[{shown}]",
                description="data block" if size is None else f"data block of {size} bytes",
                is_writable=True,
            )

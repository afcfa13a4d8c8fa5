"""A session with a Modbus device: plan the requests, read them one after the other, split what is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pymodbus.pdu import ModbusPDU

from millstream.connectors.modbus._config import ModbusConfig, ModbusTagOptions
from millstream.connectors.modbus._faults import BAD_NOT_WRITABLE, SPLITTING, fault
from millstream.connectors.modbus._link import Client, DamagedAnswer, Link, NoAnswer
from millstream.connectors.modbus._units import Units
from millstream.kernel import DecodeError
from millstream.model import (
    BAD_COMMUNICATION_ERROR,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Sample,
    Value,
)
from millstream.protocols.modbus_plan import (
    WRITE_REGISTERS_COUNT_MAX,
    Point,
    Request,
    Table,
    decode_bits,
    decode_registers,
    encode_registers,
    parse_address,
    plan_requests,
    registers_to_bytes,
    split_request,
)
from millstream.sdk import ConnectorTools, Tag, Write, WriteResult, given_value, write_in_turn

PLANS_COUNT_MAX = 64  # one for each set of tags asked together; a runtime has a handful of poll groups
WRITE_BITS_COUNT_MAX = 1968  # clause 6.11

Reading: TypeAlias = "tuple[Value | None, Quality]"
Call = Callable[[Client], Awaitable[ModbusPDU]]


@dataclass(slots=True)
class _Plan:
    """The requests for one set of tags. `requests` shrinks to what the device takes."""

    points: list[tuple[int, Point]]
    requests: list[Request]


class ModbusSession:
    """Polled, Writable."""

    def __init__(self, link: Link, config: ModbusConfig, tools: ConnectorTools) -> None:
        self._link = link
        self._config = config
        self._tools = tools
        self._limits = config.limits()
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._damaged_count = 0  # since the last whole answer
        self._units = Units(self._point(tag)[0] for tag in tools.tags)

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order; without a source time, since registers have none.

        Raises Unreachable when the link is gone or no unit answers in time, ProtocolViolation for an answer that is
        none. One silent unit of several has bad samples, and is left alone for a growing while.
        """
        plan = self._plan(tags)
        readings: list[Reading] = [(None, BAD_NO_COMMUNICATION)] * len(tags)
        kept: list[Request] = []
        waiting = plan.requests[::-1]
        while waiting:
            request = waiting.pop()
            code = await self._read_one(request, plan.points, readings)
            parts = split_request(request, plan.points) if code else (request,)
            if len(parts) == 1:
                kept.append(request)
                continue
            self._tools.log.info(
                "block refused, split", table=request.table.name.lower(), start=request.start, count=request.count
            )
            waiting.extend(reversed(parts))
        plan.requests = kept
        return [Sample(tag.key, value, quality) for tag, (value, quality) in zip(tags, readings, strict=True)]

    def _plan(self, tags: Sequence[Tag]) -> _Plan:
        key = tuple(f"{tag.key}\n{tag.address}" for tag in tags)
        plan = self._plans.get(key)
        if plan is None:
            points = [self._point(tag) for tag in tags]
            plan = _Plan(points, plan_requests(points, self._limits))
            self._units.add(unit_id for unit_id, _ in points)
            if len(self._plans) >= PLANS_COUNT_MAX:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _point(self, tag: Tag) -> tuple[int, Point]:
        unit_id = ModbusTagOptions.model_validate(dict(tag.options)).unit_id
        return (
            self._config.unit_id if unit_id is None else unit_id,
            parse_address(tag.address, self._config.byte_order),
        )

    async def _read_one(self, request: Request, points: Sequence[tuple[int, Point]], readings: list[Reading]) -> bool:
        """Fill in the readings of its members. True when a smaller request may get more."""
        if not self._units.is_due(request.unit_id, self._tools.clock.monotonic_ns()):
            return False
        answer = await self._ask(request.unit_id, _reader(request))
        if isinstance(answer, Quality):
            for index in request.members:
                readings[index] = (None, answer)
            return False
        if answer.isError():
            quality, _ = fault(answer.exception_code)
            for index in request.members:
                readings[index] = (None, quality)
            return answer.exception_code in SPLITTING
        if request.table.has_bits:
            # Bits come in whole bytes, so the last byte may hold up to seven more than asked for.
            if len(answer.bits) != (request.count + 7) // 8 * 8:
                return _mark_short(request, readings)
            for index in request.members:
                readings[index] = (decode_bits(points[index][1], request.start, answer.bits), GOOD)
            return False
        if len(answer.registers) != request.count:
            return _mark_short(request, readings)
        raw = registers_to_bytes(answer.registers)
        for index in request.members:
            try:
                readings[index] = (decode_registers(points[index][1], request.start, raw), GOOD)
            except DecodeError:
                readings[index] = (None, BAD_DECODING_ERROR)
        return False

    async def _ask(self, unit_id: int, call: Call) -> ModbusPDU | Quality:
        """The unit's answer, or why there is none: it is silent and others are not, or the line damaged it.

        Raises Unreachable when all are silent, ProtocolViolation when the line damages everything.
        """
        try:
            answer = await self._link.ask(call)
        except DamagedAnswer as error:
            if self._damaged_count == 0:
                self._tools.log.warning("answer damaged on the line", unit_id=unit_id, error=str(error))
            self._damaged_count += 1
            return BAD_COMMUNICATION_ERROR
        except NoAnswer as error:
            is_new = self._units.went_silent(unit_id, self._tools.clock.monotonic_ns())
            if self._units.are_all_silent:
                self._link.close()  # so that a late answer meets nobody
                raise
            if is_new:
                self._tools.log.warning("unit does not answer", unit_id=unit_id, error=str(error))
            return BAD_NO_COMMUNICATION
        if self._damaged_count:
            self._tools.log.info("answers are whole again", damaged_count=self._damaged_count)
            self._damaged_count = 0
        if self._units.answered(unit_id):
            self._tools.log.info("unit answers again", unit_id=unit_id)
        return answer

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One after the other, each checked by the device; a lost link fails it and all that follow."""
        return await write_in_turn(writes, self._write_one)

    async def _write_one(self, write: Write) -> WriteResult:
        unit_id, point = self._point(write.tag)
        if not point.table.is_writable:
            return WriteResult(BAD_NOT_WRITABLE, "discrete inputs and input registers cannot be written")
        try:
            value = given_value(write)
            call = _bit_writer(point, unit_id, value) or _register_writer(point, unit_id, value)
        except TypeError as error:
            return WriteResult(BAD_TYPE_MISMATCH, str(error))
        except OverflowError as error:
            return WriteResult(BAD_OUT_OF_RANGE, str(error))
        self._units.add((unit_id,))
        answer = await self._ask(unit_id, call)
        if isinstance(answer, Quality):
            words = "does not answer" if answer == BAD_NO_COMMUNICATION else "gave a damaged answer"
            return WriteResult(answer, f"unit {unit_id} {words}; it may have taken the value")
        if answer.isError():
            quality, words = fault(answer.exception_code, is_write=True)
            return WriteResult(quality, words)
        return WriteResult(GOOD)


def _reader(request: Request) -> Call:
    def call(client: Client) -> Awaitable[ModbusPDU]:
        ask = {
            Table.COIL: client.read_coils,
            Table.DISCRETE: client.read_discrete_inputs,
            Table.HOLDING: client.read_holding_registers,
            Table.INPUT: client.read_input_registers,
        }[request.table]
        return ask(request.start, count=request.count, device_id=request.unit_id)

    return call


def _mark_short(request: Request, readings: list[Reading]) -> bool:
    """A short answer is no error to the library; which registers it lacks is unknown, so none of it is used."""
    for index in request.members:
        readings[index] = (None, BAD_DECODING_ERROR)
    return True


def _bit_writer(point: Point, unit_id: int, value: Value) -> Call | None:
    """The request that writes coils or a bit of a register; None when `point` is neither."""
    if point.data_type != "bool":
        return None
    if point.repeat is not None:
        bits = value if isinstance(value, list) else []
        if len(bits) != point.repeat or not all(isinstance(bit, bool) for bit in bits):
            raise TypeError(f"expected a list of {point.repeat} booleans")
        if len(bits) > WRITE_BITS_COUNT_MAX:
            raise OverflowError(f"expected at most {WRITE_BITS_COUNT_MAX} coils")
        return lambda client: client.write_coils(point.address, [bit is True for bit in bits], device_id=unit_id)
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    if point.bit is None:
        return lambda client: client.write_coil(point.address, value, device_id=unit_id)
    mask = 1 << point.bit
    return lambda client: client.mask_write_register(
        address=point.address, and_mask=0xFFFF & ~mask, or_mask=mask if value else 0, device_id=unit_id
    )


def _register_writer(point: Point, unit_id: int, value: Value) -> Call:
    registers = encode_registers(point, value)
    if len(registers) > WRITE_REGISTERS_COUNT_MAX:
        raise OverflowError(f"expected at most {WRITE_REGISTERS_COUNT_MAX} registers")
    if len(registers) == 1:
        return lambda client: client.write_register(point.address, registers[0], device_id=unit_id)
    return lambda client: client.write_registers(point.address, registers, device_id=unit_id)

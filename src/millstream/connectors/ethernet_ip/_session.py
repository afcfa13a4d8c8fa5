"""A session with a controller: reads, writes and the list of tags in the controller's own thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from millstream.connectors.ethernet_ip._config import EtherNetIpConfig
from millstream.connectors.ethernet_ip._driver import Driver
from millstream.connectors.ethernet_ip._thread import DriverThread
from millstream.model import (
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    UNCERTAIN_LAST_USABLE_VALUE,
    Quality,
    Sample,
)
from millstream.protocols.cip_address import parse_address
from millstream.protocols.cip_identity import Mode, mode_of
from millstream.sdk import ConnectorTools, NodeInfo, Tag, Write, WriteResult, given_value, write_in_turn

_STANDING = {Mode.PROGRAM: "MS-1303", Mode.FAULT: "MS-1304"}  # the program does not run, so what it computes stands


class EtherNetIpSession:
    """Polled, Writable, Browsable."""

    def __init__(self, thread: DriverThread, driver: Driver, config: EtherNetIpConfig, tools: ConnectorTools) -> None:
        self._thread = thread
        self._driver = driver
        self._config = config
        self._tools = tools
        self._mode = Mode.UNKNOWN
        self._status_due_ns = 0

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        """One sample a tag, in order; without a source time, since tags have none.

        While the controller is in program mode or in a major fault, good values become uncertain: its program does not
        compute them. Raises Unreachable, ProtocolViolation.
        """
        await self._look_at_mode()
        addresses = [parse_address(tag.address) for tag in tags]
        readings = await self._thread.run(lambda: self._driver.read(addresses))
        return [
            Sample(tag.key, value, self._as_of_now(quality))
            for tag, (value, quality) in zip(tags, readings, strict=True)
        ]

    def _as_of_now(self, quality: Quality) -> Quality:
        return UNCERTAIN_LAST_USABLE_VALUE if quality.is_good and self._mode in _STANDING else quality

    async def _look_at_mode(self) -> None:
        now_ns = self._tools.clock.monotonic_ns()
        if not self._config.status_interval or now_ns < self._status_due_ns:
            return
        self._status_due_ns = now_ns + int(self._config.status_interval * 1e9)
        status = await self._thread.run(self._driver.status)
        mode = Mode.UNKNOWN if status is None else mode_of(status)
        if mode in _STANDING:
            if mode is not self._mode:
                self._tools.log.warning("controller does not run", mode=mode.value, code=_STANDING[mode])
        elif self._mode in _STANDING:
            self._tools.log.info("controller runs again", mode=mode.value)
        self._mode = mode

    async def write(self, writes: Sequence[Write]) -> Sequence[WriteResult]:
        """One after the other, each checked by type and range first; a lost link fails it and all that follow."""
        return await write_in_turn(writes, self._write_one)

    async def _write_one(self, write: Write) -> WriteResult:
        address = parse_address(write.tag.address)
        try:
            value = given_value(write)
            quality, reason = await self._thread.run(lambda: self._driver.write(address, value))
        except TypeError as error:
            return WriteResult(BAD_TYPE_MISMATCH, str(error))
        except OverflowError as error:
            return WriteResult(BAD_OUT_OF_RANGE, str(error))
        return WriteResult(quality, reason)

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """The tags whose names begin with `root`. Raises NotFoundError for a device without a tag list."""
        for node in await self._thread.run(self._driver.browse):
            if root is None or node.name == root or node.name.startswith((root + ".", root + "[")):
                yield node

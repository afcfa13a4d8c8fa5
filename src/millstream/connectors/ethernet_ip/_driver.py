"""What the two client libraries have in common here. All calls block and run in the controller's own thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from millstream.model import Quality, Value
from millstream.protocols.cip_address import TagAddress
from millstream.sdk import NodeInfo

Reading: TypeAlias = "tuple[Value | None, Quality]"


class Driver(Protocol):
    """One connection, used once: after any Unreachable or ProtocolViolation it is thrown away."""

    def open(self) -> None:
        """Connect. Raises Unreachable, ProtocolViolation."""
        ...

    def read(self, addresses: Sequence[TagAddress]) -> list[Reading]:
        """One reading an address, in order. Raises Unreachable, ProtocolViolation."""
        ...

    def write(self, address: TagAddress, value: Value) -> tuple[Quality, str | None]:
        """What became of it. Raises Unreachable, ProtocolViolation; TypeError and OverflowError for a wrong value."""
        ...

    def browse(self) -> list[NodeInfo]:
        """The tags of the controller. Raises NotFoundError for a device that has no list, and Unreachable."""
        ...

    def status(self) -> int | None:
        """The status word of the Identity object; None when the device does not say. Raises Unreachable."""
        ...

    def close(self) -> None:
        """Release; never raises."""
        ...

    def abort(self) -> None:
        """From another thread: make a call that waits end soon with Unreachable; never raises."""
        ...

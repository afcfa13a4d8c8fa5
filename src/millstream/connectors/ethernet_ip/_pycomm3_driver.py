"""pycomm3: the tag list is uploaded at each opening, then whole structures are read and written as dictionaries.

Instance numbers change when a program is downloaded, and the library goes on with the old ones. A download closes all
connections, and a connection is used once here, so a new list is uploaded before anything is read again.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pycomm3 import LogixDriver, PycommError, Services
from pycomm3.tag import Tag as Answer

from millstream.connectors.ethernet_ip._config import EtherNetIpConfig
from millstream.connectors.ethernet_ip._driver import Reading
from millstream.connectors.ethernet_ip._faults import (
    BAD_NOT_WRITABLE,
    CONNECTION_FAILURE,
    MessageRefused,
    refused,
)
from millstream.connectors.ethernet_ip._frames import FrameReader, reply_status
from millstream.kernel import Clock, PlantError, ProtocolViolation, Unreachable
from millstream.model import (
    BAD,
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_NODE_ID_UNKNOWN,
    BAD_NOT_READABLE,
    BAD_OUT_OF_RANGE,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Value,
)
from millstream.protocols.cip_address import TagAddress, writable_value
from millstream.sdk import NodeInfo

T = TypeVar("T")
FRAMES_COUNT_MAX = 20_000  # of one call; a tag list of 10,000 tags takes some hundred
RETRY_AFTER_S = 60.0  # a device without a tag list will hardly have one soon
MEMBERS_DEPTH_MAX = 8  # of nested structures in a list of tags
# The library says in words what was wrong with a tag; the first that is found decides.
_WORDS = (
    ("doesn't exist", BAD_NODE_ID_UNKNOWN),
    ("path segment", BAD_NODE_ID_UNKNOWN),
    ("destination unknown", BAD_NODE_ID_UNKNOWN),
    ("invalid tag", BAD_NODE_ID_UNKNOWN),
    ("failed to parse tag", BAD_NODE_ID_UNKNOWN),
    ("beyond end", BAD_OUT_OF_RANGE),
    ("out of range", BAD_OUT_OF_RANGE),
    ("privilege", BAD_NOT_READABLE),
    ("permission denied", BAD_NOT_READABLE),
    ("not supported", BAD_NOT_READABLE),
    ("state conflict", BAD_DATA_UNAVAILABLE),
    ("type", BAD_TYPE_MISMATCH),
    ("encode", BAD_TYPE_MISMATCH),
    ("parse", BAD_DECODING_ERROR),
)

logging.getLogger("pycomm3").setLevel(logging.CRITICAL)  # what it says there is raised here as an error


class CheckedSocket:
    """Stands in for the library's socket class, and gives whole frames only."""

    def __init__(self, reader: FrameReader, timeout_s: float) -> None:
        self._reader = reader
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(timeout_s)

    def connect(self, host: str, port: int) -> None:
        """Connect. Raises Unreachable."""
        try:
            self.sock.connect((host, port))
        except OSError as error:
            raise self._reader.lost(f"device cannot be reached: {error.strerror or error}") from error

    def send(self, message: bytes) -> int:
        """All of it. Raises Unreachable."""
        try:
            self.sock.sendall(message)
        except OSError as error:
            raise self._reader.lost(f"link is lost: {error.strerror or error}") from error
        return len(message)

    def receive(self) -> bytes:
        """The next whole frame. Raises Unreachable, ProtocolViolation."""
        return self._reader.read(self.sock)

    def close(self) -> None:
        """Close."""
        self.sock.close()


class Pycomm3Driver:
    """One connection. See `Driver`. `make` builds the library's driver for a path."""

    def __init__(
        self, config: EtherNetIpConfig, address: str, clock: Clock, make: Callable[[str], Any] = LogixDriver
    ) -> None:
        self._config = config
        self._reader = FrameReader(f"{config.host}:{config.port}", config.timeout, clock)
        self._socket = CheckedSocket(self._reader, config.connect_timeout)
        self._route = "/".join(f"{port}/{link}" for port, link in config.hops())
        self._plc = make(f"{address}:{config.port}" + (f"/{self._route}" if self._route else ""))
        self._plc._sock = self._socket  # the library takes one that is there; it has no argument for it
        self._is_sound = False
        self._is_over = False

    def open(self) -> None:
        """Connect, and upload the tag list; Unreachable (MS-1305) for a device that has none."""
        try:
            is_open = self._tried(self._plc.open)
        except (PycommError, MessageRefused) as error:
            status, extended = self._last_status()
            is_refused = status == CONNECTION_FAILURE and extended is not None  # of the route, by whoever passes it on
            if is_refused or "forward" in str(error).lower() or "Target did not connect" in str(error):
                raise refused(self._reader.where, self._route, status, extended) from error
            raise Unreachable(
                f"device does not list its tags: {error}",
                where=self._reader.where,
                retry_after_s=RETRY_AFTER_S,
                next_step="`driver: pylogix` reads tags without the list",
                code="MS-1305",
            ) from error
        if not is_open:
            raise self._reader.lost("device refuses a session")
        self._is_sound = True

    def read(self, addresses: Sequence[TagAddress]) -> list[Reading]:
        """All in one call; the library fills the messages."""
        if not addresses:
            return []
        answers = self._call(lambda: self._plc.read(*(_name(address) for address in addresses)))
        answers = [answers] if isinstance(answers, Answer) else answers
        if len(answers) != len(addresses):
            return [(None, BAD_DECODING_ERROR)] * len(addresses)
        return [reading(address, answer) for address, answer in zip(addresses, answers, strict=True)]

    def write(self, address: TagAddress, value: Value) -> tuple[Quality, str | None]:
        """The uploaded list says what type the tag has; members of structures are read first."""
        answer = self._call(lambda: self._plc.read(_name(address)))
        if answer.error:
            return error_quality(answer.error), answer.error
        data_type = str(answer.type).partition("[")[0]
        is_structure = isinstance(value, dict)
        checked = value if is_structure else writable_value(address, data_type, value)
        answer = self._call(lambda: self._plc.write((_name(address), checked)))
        if not answer.error:
            return GOOD, None
        quality = error_quality(answer.error)
        return (BAD_NOT_WRITABLE if quality == BAD_NOT_READABLE else quality), answer.error

    def browse(self) -> list[NodeInfo]:
        """From the list that was uploaded at opening, with the members of structures."""
        found: list[NodeInfo] = []
        for name, definition in self._plc.tags.items():
            found.extend(nodes_of(name, definition))
        return found

    def status(self) -> int | None:
        """Attribute 5 of the Identity object."""
        answer = self._call(
            lambda: self._plc.generic_message(
                service=Services.get_attribute_single, class_code=b"\x01", instance=b"\x01", attribute=b"\x05"
            )
        )
        if answer.error or not isinstance(answer.value, bytes) or len(answer.value) < 2:
            return None
        return int.from_bytes(answer.value[:2], "little")

    def close(self) -> None:
        """With a word to the device when the link is sound; a broken one is dropped."""
        self._reader.frames_left = 4
        if self._is_sound:
            with contextlib.suppress(PlantError, PycommError, OSError):
                self._plc.close()
        self._socket.close()

    def abort(self) -> None:
        """The socket goes down under the call that waits."""
        self._end()
        self._reader.abort(self._socket.sock)

    def _call(self, call: Callable[[], T]) -> T:
        """One call of the library: the choke point. What it cannot make sense of is the device's violation."""
        try:
            return self._tried(call)
        except PlantError:
            raise
        except Exception as error:  # its decoders raise what happens to come; a StopIteration would hang the future
            raise self._senseless(error) from error

    def _tried(self, call: Callable[[], T]) -> T:
        """What the link does, as the library hides it below an error of its own; that one otherwise."""
        if self._is_over:
            raise self._reader.lost("connection has ended")
        self._reader.frames_left = FRAMES_COUNT_MAX
        self._reader.last_frame = b""
        try:
            return call()
        except PlantError:
            self._end()
            raise
        except PycommError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, PlantError):
                cause = cause.__cause__ or cause.__context__
            self._end()
            if cause is None:
                raise
            raise cause from error

    def _end(self) -> None:
        self._is_sound, self._is_over = False, True

    def _senseless(self, error: Exception) -> ProtocolViolation:
        self._end()
        return self._reader.broken(f"answer cannot be read: {error!r:.200}", self._reader.last_frame)

    def _last_status(self) -> tuple[int, int | None]:
        frame = self._reader.last_frame
        return reply_status(frame) if frame and frame[0] in (0x6F, 0x70) else (0, None)


def _name(address: TagAddress) -> str:
    return address.name if address.count is None else f"{address.name}{{{address.count}}}"


def error_quality(words: str) -> Quality:
    """What the library's words mean for the tag."""
    lowered = words.lower()
    return next((quality for word, quality in _WORDS if word in lowered), BAD)


def reading(address: TagAddress, answer: Answer) -> Reading:
    """One answer of the library."""
    if answer.error or answer.value is None:
        return None, error_quality(answer.error or "parse")
    value = answer.value
    if address.count is not None:
        value = value if isinstance(value, list) else [value]
        if len(value) != address.count:
            return None, BAD_DECODING_ERROR
    return _plain(value), GOOD


def _plain(value: Any) -> Value:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    plain: Value = value
    return plain


def nodes_of(name: str, definition: Mapping[str, Any], depth: int = 0) -> Iterator[NodeInfo]:
    """A tag of the uploaded list; of a structure its members, since those are what a namespace holds."""
    dimensions = [size for size in definition.get("dimensions", ()) if size]
    array = int(definition.get("array", 0) or 0)
    is_text = "string" in definition
    if definition.get("tag_type") != "struct" or is_text or dimensions or array or depth >= MEMBERS_DEPTH_MAX:
        size = dimensions[0] if len(dimensions) == 1 else array
        yield NodeInfo(
            address=f"{name}[0]{{{size}}}" if size and len(dimensions) <= 1 else name,
            name=name,
            groups=(name.partition(".")[0],) if name.startswith("Program:") else (),
            data_type=str(definition.get("data_type_name") or definition.get("data_type") or "") or None,
            is_writable="None" not in (access := str(definition.get("external_access", "")))
            and "Read Only" not in access,
        )
        return
    members = definition.get("data_type", {}).get("internal_tags", {})
    visible = definition.get("data_type", {}).get("attributes", members)
    for member in visible:
        if member in members:
            yield from nodes_of(f"{name}.{member}", members[member], depth + 1)

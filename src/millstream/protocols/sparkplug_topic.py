"""Sparkplug topics (chapter 4) and the JSON of a host application's STATE (6.4.23 to 6.4.25). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from millstream.kernel import DecodeError

NAMESPACE = "spBv1.0"
TOPIC_BYTES_MAX = 65_535  # MQTT 3.1.1, 1.5.3
STATE_BYTES_MAX = 4_096  # two members


class MessageType(StrEnum):
    """What a message is."""

    NBIRTH = "NBIRTH"
    NDEATH = "NDEATH"
    DBIRTH = "DBIRTH"
    DDEATH = "DDEATH"
    NDATA = "NDATA"
    DDATA = "DDATA"
    NCMD = "NCMD"
    DCMD = "DCMD"

    @property
    def is_of_device(self) -> bool:
        """Its topic has a device id."""
        return self.value[0] == "D"


@dataclass(frozen=True, slots=True)
class Topic:
    """``spBv1.0/group/type/node[/device]``."""

    group: str
    type: MessageType
    node: str
    device: str | None = None

    def __post_init__(self) -> None:
        check_id(self.group, "group id")
        check_id(self.node, "edge node id")
        if self.device is not None:
            check_id(self.device, "device id")
        if self.type.is_of_device is not (self.device is not None):
            raise _malformed(
                f"a topic of {self.type} {'needs' if self.type.is_of_device else 'has no'} device id", self.text
            )
        if len(self.text.encode()) > TOPIC_BYTES_MAX:
            raise _malformed("topic is too long", f"{len(self.text)} characters")

    @property
    def text(self) -> str:
        """As MQTT takes it."""
        levels = [NAMESPACE, self.group, self.type.value, self.node]
        return "/".join(levels if self.device is None else [*levels, self.device])

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StateTopic:
    """``spBv1.0/STATE/host_id``."""

    host_id: str

    def __post_init__(self) -> None:
        check_id(self.host_id, "host id")

    @property
    def text(self) -> str:
        """As MQTT takes it."""
        return f"{NAMESPACE}/STATE/{self.host_id}"

    def __str__(self) -> str:
        return self.text


def parse_topic(text: str) -> Topic | StateTopic:
    """A topic below ``spBv1.0``. Raises DecodeError."""
    levels = text.split("/")
    if levels[0] != NAMESPACE:
        raise _malformed(f"topic is not below {NAMESPACE}", text)
    if len(levels) == 3 and levels[1] == "STATE":
        return StateTopic(levels[2])
    if not 4 <= len(levels) <= 5:
        raise _malformed("topic has a wrong number of levels", text)
    if levels[2] not in MessageType.__members__:
        raise _malformed("topic names no message type", text)
    return Topic(levels[1], MessageType(levels[2]), levels[3], levels[4] if len(levels) == 5 else None)


def check_id(text: str, what: str) -> None:
    """Refuse what cannot be one level of a topic. Blanks and letters of any script may be. Raises DecodeError."""
    if not text or any(c in "+/#\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise _malformed(f"{what} is empty or has one of + / #", text)


def _malformed(what: str, got: str) -> DecodeError:
    return DecodeError(
        what, expected="spBv1.0/group/type/node[/device] or spBv1.0/STATE/host", got=ascii(got)[:120], code="MS-1503"
    )


class State(msgspec.Struct, frozen=True):
    """A host application's STATE; `timestamp` is ms, UTC, the same in the will and the birth of one connection."""

    online: bool
    timestamp: int

    def encode(self) -> bytes:
        """JSON with exactly these two members."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, raw: bytes) -> State:
        """Raises DecodeError."""
        try:
            if len(raw) > STATE_BYTES_MAX:
                raise DecodeError("STATE is too long", got=f"{len(raw)} bytes", code="MS-1504")
            return msgspec.json.decode(raw, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DecodeError(
                f"STATE cannot be read: {error}",
                expected='{"online": true or false, "timestamp": milliseconds}',
                got=ascii(raw[:80]),
                code="MS-1504",
            ) from error

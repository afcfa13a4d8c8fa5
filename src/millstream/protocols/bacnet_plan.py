"""BACnet addresses, and which requests read them: pure, no I/O (ASHRAE 135-2020, clauses 12, 15.5, 15.7 and 20).

An address is ``<object type>:<instance>[.<property>][[<index>]]``:

    analog-input:3                  its present value          device:1001.system-status     another property
    ai:3                            the same, in short         binary-value:1.priority-array[8]
    multi-state-value:2             1 is the first state       200:1.512                     numbers of a vendor's own

Types and properties are the standard's words or their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from millstream.kernel import ConfigError, suggest

INSTANCE_MAX = 4_194_302  # clause 20.2.14; one more is the wildcard: of a device, whichever is asked (15.5.2)
OBJECT_TYPE_MAX = 1023
PROPERTY_MAX = 4_194_303
INDEX_MAX = 0xFFFFFFFF
DEVICE_TYPE = 8
PRESENT_VALUE, STATUS_FLAGS, RELIABILITY, OBJECT_LIST, OBJECT_NAME, UNITS, DESCRIPTION = 85, 111, 103, 76, 77, 117, 28
PRIORITY_ARRAY = 87

OBJECT_TYPES: Mapping[str, int] = MappingProxyType(
    {
        "analog-input": 0, "analog-output": 1, "analog-value": 2, "binary-input": 3, "binary-output": 4,
        "binary-value": 5, "calendar": 6, "command": 7, "device": DEVICE_TYPE, "event-enrollment": 9, "file": 10,
        "group": 11, "loop": 12, "multi-state-input": 13, "multi-state-output": 14, "notification-class": 15,
        "program": 16, "schedule": 17, "averaging": 18, "multi-state-value": 19, "trend-log": 20,
        "life-safety-point": 21, "life-safety-zone": 22, "accumulator": 23, "pulse-converter": 24, "event-log": 25,
        "trend-log-multiple": 27, "load-control": 28, "structured-view": 29, "access-door": 30, "timer": 31,
        "bitstring-value": 39, "characterstring-value": 40, "date-pattern-value": 41, "date-value": 42,
        "datetime-pattern-value": 43, "datetime-value": 44, "integer-value": 45, "large-analog-value": 46,
        "octetstring-value": 47, "positive-integer-value": 48, "time-pattern-value": 49, "time-value": 50,
        "notification-forwarder": 51, "alert-enrollment": 52, "channel": 53, "lighting-output": 54,
        "binary-lighting-output": 55, "network-port": 56, "elevator-group": 57, "escalator": 58, "lift": 59,
    }
)  # fmt: skip
SHORT_TYPES: Mapping[str, int] = MappingProxyType(
    {"ai": 0, "ao": 1, "av": 2, "bi": 3, "bo": 4, "bv": 5, "dev": DEVICE_TYPE, "mi": 13, "mo": 14, "mv": 19}
)
PROPERTIES: Mapping[str, int] = MappingProxyType(
    {
        "acked-transitions": 0, "action": 2, "active-text": 4, "alarm-value": 6, "application-software-version": 12,
        "bias": 14, "change-of-state-count": 15, "change-of-state-time": 16, "controlled-variable-value": 21,
        "cov-increment": 22, "daylight-savings-status": 24, "deadband": 25, "description": DESCRIPTION,
        "device-type": 31, "elapsed-active-time": 33, "event-enable": 35, "event-state": 36, "feedback-value": 40,
        "firmware-revision": 44, "high-limit": 45, "inactive-text": 46, "limit-enable": 52, "local-date": 56,
        "local-time": 57, "location": 58, "low-limit": 59, "max-apdu-length-accepted": 62, "max-pres-value": 65,
        "maximum-output": 61, "min-pres-value": 69, "minimum-output": 68, "model-name": 70, "number-of-states": 74,
        "object-identifier": 75, "object-list": OBJECT_LIST, "object-name": OBJECT_NAME, "object-type": 79,
        "out-of-service": 81, "polarity": 84, "present-value": PRESENT_VALUE, "priority": 86,
        "priority-array": PRIORITY_ARRAY, "proportional-constant": 93, "protocol-services-supported": 97,
        "protocol-version": 98, "reliability": RELIABILITY, "relinquish-default": 104, "resolution": 106,
        "segmentation-supported": 107, "setpoint": 108, "state-text": 110, "status-flags": STATUS_FLAGS,
        "system-status": 112, "time-delay": 113, "units": UNITS, "update-interval": 118, "utc-offset": 119,
        "vendor-identifier": 120, "vendor-name": 121, "protocol-revision": 139, "database-revision": 155,
        "tracking-value": 164, "value-before-change": 190, "value-set": 191, "value-change-time": 192,
        "time-of-device-restart": 203, "profile-name": 168, "pulse-rate": 186, "scale": 187, "last-restart-reason": 196,
    }
)  # fmt: skip
_TYPE_NAMES = {number: name for name, number in OBJECT_TYPES.items()}
# Objects that have status flags; of others nobody asks for them (clause 12; proprietary types may have any).
_FLAGGED = frozenset({0, 1, 2, 3, 4, 5, 12, 13, 14, 19, 23, 24, *range(39, 51), 53, 54, 55})
BINARY_TYPES = frozenset({3, 4, 5, 55})  # their present value is an enumeration of two, given as a boolean
_ADDRESS = re.compile(
    r"(?P<type>[a-z0-9-]+):(?P<instance>\d{1,7})(?:\.(?P<property>[a-z0-9-]+))?(?:\[(?P<index>\d{1,10})\])?\Z", re.ASCII
)


class Property(NamedTuple):  # compared and hashed for each value of each scan
    """One property of one object, or with `array_index` one element of it (0 is the number of elements)."""

    object_type: int
    instance: int
    property_id: int = PRESENT_VALUE
    array_index: int | None = None

    @property
    def has_flags(self) -> bool:
        """True for the present value of an object that has status flags."""
        return self.property_id == PRESENT_VALUE and self.array_index is None and self.object_type in _FLAGGED

    @property
    def is_binary(self) -> bool:
        """True when its enumeration of two means false and true."""
        return self.property_id == PRESENT_VALUE and self.object_type in BINARY_TYPES

    def sibling(self, property_id: int) -> Property:
        """Another property of the same object."""
        return Property(self.object_type, self.instance, property_id)

    @property
    def object_address(self) -> str:
        """The object in the notation of addresses."""
        return f"{_TYPE_NAMES.get(self.object_type, self.object_type)}:{self.instance}"


@lru_cache(maxsize=65536)
def parse_address(text: str) -> Property:
    """The property that `text` names. Raises ConfigError."""
    match = _ADDRESS.match(text.strip().lower())
    if match is None:
        raise _refuse("not a BACnet address", text, "<object type>:<instance>[.<property>][[<index>]], e.g. ai:3")
    object_type = _number(match["type"], {**OBJECT_TYPES, **SHORT_TYPES}, OBJECT_TYPE_MAX, "object type", text)
    property_id = PRESENT_VALUE
    if match["property"] is not None:
        property_id = _number(match["property"], PROPERTIES, PROPERTY_MAX, "property", text)
    elif object_type == DEVICE_TYPE:
        raise _refuse("a device has no present value", text, "a property, e.g. device:1001.system-status")
    if int(match["instance"]) > INSTANCE_MAX + (object_type == DEVICE_TYPE):
        raise _refuse("BACnet instance is too large", text, f"at most {INSTANCE_MAX}")
    index = None if match["index"] is None else int(match["index"])
    if index is not None and index > INDEX_MAX:
        raise _refuse("index of a BACnet array is too large", text, f"at most {INDEX_MAX}")
    return Property(object_type, int(match["instance"]), property_id, index)


def _number(word: str, words: Mapping[str, int], maximum: int, what: str, text: str) -> int:
    if word.isdecimal():
        if int(word) > maximum:
            raise _refuse(f"BACnet {what} is too large", text, f"at most {maximum}")
        return int(word)
    if word not in words:
        near = suggest(word, list(words))
        raise _refuse(
            f"unknown BACnet {what}",
            text,
            "the standard's word, or a number",
            f"did you mean {near}?" if near else None,
        )
    return words[word]


def _refuse(what: str, text: str, expected: str, next_step: str | None = None) -> ConfigError:
    return ConfigError(what, expected=expected, got=repr(text), next_step=next_step, code="MS-1401")


class Trouble(Enum):
    """What a device refuses a whole request for."""

    TOO_LONG = "too long"
    UNSUPPORTED = "unsupported"
    OTHER = "other"


# Abort and reject reasons of clauses 20.1.9.4 and 20.1.8.4 by which a smaller request may get more.
_TOO_LONG_ABORTS, _TOO_LONG_REJECTS = (1, 4, 9, 11), (1, 7)
_UNRECOGNIZED_SERVICE = 9
# Error codes by which some devices say the same instead of rejecting, clause 21: service request denied, optional
# functionality not supported, reject unrecognized service.
_UNSUPPORTED_ERRORS = (29, 45, 67)


def error_trouble(code: int) -> Trouble:
    """Why a request was answered with an error."""
    return Trouble.UNSUPPORTED if code in _UNSUPPORTED_ERRORS else Trouble.OTHER


def abort_trouble(reason: int) -> Trouble:
    """Why a request was aborted."""
    return Trouble.TOO_LONG if reason in _TOO_LONG_ABORTS else Trouble.OTHER


def reject_trouble(reason: int) -> Trouble:
    """Why a request was rejected."""
    if reason == _UNRECOGNIZED_SERVICE:
        return Trouble.UNSUPPORTED
    return Trouble.TOO_LONG if reason in _TOO_LONG_REJECTS else Trouble.OTHER


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """How large one ReadPropertyMultiple may be: bytes of its answer, and properties."""

    answer_bytes_max: int = 1476
    properties_count_max: int = 100


_ANSWER_HEAD_BYTES, _OBJECT_BYTES = 3, 7  # clauses 20.1.5 and 21: identifier, opening and closing tag of the list
_PROPERTY_BYTES, _INDEX_BYTES = 4, 5  # its number, opening and closing tags; the index of an array's element
_VALUE_BYTES = {PRESENT_VALUE: 9, STATUS_FLAGS: 3, RELIABILITY: 2, UNITS: 3, OBJECT_NAME: 40, DESCRIPTION: 70}
_OTHER_VALUE_BYTES = 40


def answer_bytes(item: Property) -> int:
    """What one property adds to an answer, guessed on the high side for the usual ones; a text may be longer."""
    index_bytes = 0 if item.array_index is None else _INDEX_BYTES
    number_bytes = (item.property_id.bit_length() - 1) // 8 if item.property_id else 0
    return _PROPERTY_BYTES + number_bytes + index_bytes + _VALUE_BYTES.get(item.property_id, _OTHER_VALUE_BYTES)


def plan_reads(items: Sequence[Property], limits: PlanLimits) -> list[tuple[Property, ...]]:
    """The requests that read all `items`, each property once, those of one object beside each other; O(n log n)."""
    requests: list[tuple[Property, ...]] = []
    current: list[Property] = []
    size = _ANSWER_HEAD_BYTES
    for item in sorted(set(items), key=lambda i: (i.object_type, i.instance, i.property_id, i.array_index or 0)):
        is_same = bool(current) and (current[-1].object_type, current[-1].instance) == (item.object_type, item.instance)
        more = answer_bytes(item) + (0 if is_same else _OBJECT_BYTES)
        is_full = size + more > limits.answer_bytes_max or len(current) >= limits.properties_count_max
        if current and is_full:
            requests.append(tuple(current))
            current, size, more = [], _ANSWER_HEAD_BYTES, answer_bytes(item) + _OBJECT_BYTES
        current.append(item)
        size += more
    if current:
        requests.append(tuple(current))
    return requests


def split_read(request: tuple[Property, ...]) -> tuple[tuple[Property, ...], ...]:
    """Two halves for a request whose answer did not fit; itself when it has one property."""
    if len(request) < 2:
        return (request,)
    middle = len(request) // 2
    return request[:middle], request[middle:]

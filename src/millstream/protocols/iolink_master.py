"""What to ask an IO-Link master, and what its answers say. Two dialects, both JSON over HTTP. Pure.

``json``: JSON Integration for IO-Link 1.0.0 (order no. 10.222), one request a device. ``iotcore``: data points of an
IoT core, many in one ``getdatamulti``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from millstream.kernel import DecodeError
from millstream.model import (
    BAD,
    BAD_COMMUNICATION_ERROR,
    BAD_DATA_UNAVAILABLE,
    BAD_DECODING_ERROR,
    BAD_NO_COMMUNICATION,
    BAD_NODE_ID_UNKNOWN,
    BAD_TYPE_MISMATCH,
    GOOD,
    Quality,
    Value,
)
from millstream.protocols.iolink_data import (
    OCTETS_MAX,
    PARAMETER_OCTETS_MAX,
    Field,
    Point,
    decode_field,
    substitute_quality,
)
from millstream.protocols.mqtt_mapping import to_value

POINTS_ASKED_MAX = 50  # in one getdatamulti: masters are small computers
EVENTS_MAX = 100  # of one answer
LINE_CHARACTERS_MAX = 200  # of a text that a master says of itself

Reading: TypeAlias = "tuple[Value | None, Quality]"
_PORT = re.compile(r"(?:master(\d{1,3}))?port(\d{1,3})\Z")
_IDENTIFICATION = {
    "vendor_id": ("vendorId", "vendorid"), "device_id": ("deviceId", "deviceid"),
    "product_name": ("productName", "productname"), "serial_number": ("serialNumber", "serial"),
}  # fmt: skip
_STATUSES = {0: "NOT_CONNECTED", 1: "PREOPERATE", 2: "OPERATE", 3: "COMMUNICATION_ERROR"}
_CODES = {
    400: BAD_NODE_ID_UNKNOWN, 404: BAD_NODE_ID_UNKNOWN, 503: BAD_NO_COMMUNICATION, 530: BAD_DATA_UNAVAILABLE,
    531: BAD_COMMUNICATION_ERROR,
}  # fmt: skip
# Errors of the JSON integration: nothing by that name; the port is no IO-Link port; its device is not accessible.
_ERRORS = {
    301: BAD_NODE_ID_UNKNOWN, 302: BAD_NODE_ID_UNKNOWN, 303: BAD_NODE_ID_UNKNOWN, 304: BAD_NODE_ID_UNKNOWN,
    307: BAD_DATA_UNAVAILABLE, 308: BAD_NO_COMMUNICATION,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `members` are the indexes of the points that it answers."""

    path: str
    members: tuple[int, ...]
    body: Mapping[str, Any] | None = None
    method: str = "GET"


def port_of(device: str) -> tuple[int, int] | None:
    """Master (1 unless named) and port of ``port3`` or ``master2port3``; None of an alias."""
    match = _PORT.match(device)
    return None if match is None else (int(match[1] or 1), int(match[2]))


# -- JSON integration -------------------------------------------------------------------------------------------------


def alias_of(device: str) -> str:
    """The name of a device: its alias, by default made of master and port."""
    found = port_of(device)
    return device if found is None else f"master{found[0]}port{found[1]}"


def plan_json(points: Sequence[Point]) -> list[Ask]:
    """One request for each device and kind of data, in the order of the points."""
    paths: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        paths.setdefault(_json_path(point), []).append(index)
    return [Ask(path, tuple(members)) for path, members in paths.items()]


def _json_path(point: Point) -> str:
    device = f"/devices/{alias_of(point.device)}"
    if point.what in ("in", "pin2", "pin4"):
        return f"{device}/processdata/getdata/value?format=byteArray"
    if point.what == "out":
        return f"{device}/processdata/setdata/value?format=byteArray"
    if point.what == "events":
        return f"{device}/events"
    if point.what == "isdu":
        part = f"/subindices/{point.subindex}" if point.subindex else ""
        return f"{device}/parameters/{point.index}{part}/value?format=byteArray"
    if point.what == "status":
        return f"/masters/{(port_of(point.device) or (1, 0))[0]}/ports"
    return f"{device}/identification"


def read_json(point: Point, document: object) -> Reading:
    """What an answer with status 200 says of a point. A document of another shape gives BadDecodingError."""
    try:
        return _read_json(point, document)
    except DecodeError:
        return None, BAD_DECODING_ERROR


def _read_json(point: Point, document: object) -> Reading:
    if point.what == "events":
        return _events(document), GOOD
    if point.what == "status":
        return _status_json(point, document)
    if point.what == "isdu":
        return decode_octets(point, octets_of(_members(document).get("value"), PARAMETER_OCTETS_MAX))
    members = _members(document)
    if point.what in _IDENTIFICATION:
        return _plain(members.get(_IDENTIFICATION[point.what][0]))
    members = _members(members.get("setData" if point.what == "out" else "getData", members))
    if point.what in ("pin2", "pin4"):
        value = members.get("iqValue" if point.what == "pin2" else "cqValue")
        return (value, GOOD) if isinstance(value, bool) else (None, BAD_DATA_UNAVAILABLE)
    if "iolink" not in members:
        return None, BAD_DATA_UNAVAILABLE  # the pin is a plain input or output
    link = _members(members["iolink"])
    if link.get("valid") is False:
        return None, BAD_DATA_UNAVAILABLE
    return decode_octets(point, octets_of(link.get("value")))


def octets_of(found: object, octets_max: int = OCTETS_MAX) -> bytes:
    """Process data as JSON writes it: a list of octets, or hex digits. Raises DecodeError."""
    try:
        if isinstance(found, str):
            octets = bytes.fromhex(found)
        elif isinstance(found, list) and all(type(octet) is int for octet in found):
            octets = bytes(found)
        else:
            raise ValueError("neither octets nor hex digits")
    except ValueError as error:
        raise DecodeError(f"process data is malformed: {error}", got=ascii(found)[:80]) from None
    if len(octets) > octets_max:
        raise DecodeError("data is too long", expected=f"at most {octets_max} octets", got=str(len(octets)))
    return octets


def decode_octets(point: Point, octets: bytes) -> Reading:
    """A field of the data, or all of it; too few octets are those of another device."""
    if point.is_text:
        return decode_field(Field("string", 8 * len(octets), 0), octets) if octets else "", GOOD
    return decode_field(point.field, octets), GOOD


def _status_json(point: Point, document: object) -> Reading:
    if not isinstance(document, list):
        raise DecodeError("ports are no list")
    port = port_of(point.device)
    for entry in document:
        found = _members(entry)
        is_it = found.get("deviceAlias") == point.device or (port is not None and found.get("portNumber") == port[1])
        if is_it:
            status = found.get("statusInfo")
            return (status, GOOD) if isinstance(status, str) else (None, BAD_DATA_UNAVAILABLE)
    return None, BAD_NODE_ID_UNKNOWN


def _events(document: object) -> Value:
    """Events in the order of the master, each with time, severity, code, mode and text."""
    if not isinstance(document, list):
        raise DecodeError("events are no list")
    found: list[Value] = []
    for entry in document[:EVENTS_MAX]:
        event, message = _members(entry), _members(_members(entry).get("message", {}))
        fields = {
            "time": event.get("time"), "severity": event.get("severity"), "code": message.get("code"),
            "mode": message.get("mode"), "text": message.get("text"),
        }  # fmt: skip
        found.append({name: value for name, value in fields.items() if isinstance(value, str | int)})
    return found


def quality_of_error(status: int, document: object) -> Quality:
    """What a refusal means: by the error's code where the master gives one, else by the HTTP status."""
    code = document.get("code") if isinstance(document, dict) else None
    if isinstance(code, int) and code in _ERRORS:
        return _ERRORS[code]
    if status == 404:
        return BAD_NODE_ID_UNKNOWN
    return BAD_NO_COMMUNICATION if status >= 500 else BAD


# -- IoT core ---------------------------------------------------------------------------------------------------------


def plan_iotcore(points: Sequence[Point]) -> list[Ask]:
    """Data points, as many in one request as a master takes; each parameter by itself."""
    paths: dict[str, list[int]] = {}
    parameters: dict[tuple[str, int, int], list[int]] = {}
    for index, point in enumerate(points):
        if point.what == "isdu":
            parameters.setdefault((iotcore_path(point), point.index, point.subindex), []).append(index)
        else:
            paths.setdefault(iotcore_path(point), []).append(index)
    names = list(paths)
    asks = [
        Ask("/", tuple(members), _request(path, {"index": number, "subindex": subindex}), "POST")
        for (path, number, subindex), members in parameters.items()
    ]
    for start in range(0, len(names), POINTS_ASKED_MAX):
        part = names[start : start + POINTS_ASKED_MAX]
        body = {"code": "request", "cid": start + 1, "adr": "/getdatamulti", "data": {"datatosend": part}}
        asks.append(Ask("/", tuple(index for name in part for index in paths[name]), body, "POST"))
    return asks


def iotcore_path(point: Point) -> str:
    """The data point of a tag. Raises DecodeError for what an IoT core does not have."""
    if point.what == "data":
        return point.device
    port = port_of(point.device)
    if port is None or port[0] != 1 or point.what in ("events", "pin4"):
        raise DecodeError(
            "an IoT core has no such data point",
            expected="port<n> with in, out, pin2, status or identification; data:/path for any other",
            got=f"{point.device}:{point.what}",
        )
    base = f"/iolinkmaster/port[{port[1]}]"
    if point.what == "isdu":
        return f"{base}/iolinkdevice/iolreadacyclic"
    if point.what == "pin2":
        return f"{base}/pin2in"
    names = {"in": "pdin", "out": "pdout", "status": "status"}
    return f"{base}/iolinkdevice/{names.get(point.what) or _IDENTIFICATION[point.what][1]}"


def read_iotcore(point: Point, document: object) -> Reading:
    """What an answer to getdatamulti says of a point."""
    try:
        answer = _members(document)
        code = answer.get("code")
        if point.what == "isdu" and isinstance(code, int) and code != 200:
            return None, _CODES.get(code, BAD_NODE_ID_UNKNOWN)  # the device has no such parameter, or not now
        if code != 200:
            raise DecodeError("request was refused")
        data = _members(answer.get("data"))
        if point.what == "isdu":
            return decode_octets(point, octets_of(data.get("value"), PARAMETER_OCTETS_MAX))
        path = iotcore_path(point)
        entry = data.get(path, data.get(path.lstrip("/")))
        if entry is None:
            return None, BAD_NODE_ID_UNKNOWN
        return _read_entry(point, _members(entry))
    except DecodeError:
        return None, BAD_DECODING_ERROR


def _read_entry(point: Point, entry: Mapping[str, Any]) -> Reading:
    code = entry.get("code")
    if code != 200:
        return None, _CODES.get(code, BAD) if isinstance(code, int) else BAD_DECODING_ERROR
    found = entry.get("data")
    if point.what in ("in", "out"):
        return decode_octets(point, octets_of(found))
    if point.what == "status" and isinstance(found, int):
        return _STATUSES.get(found, str(found)), GOOD
    if point.what == "pin2":
        return (bool(found), GOOD) if found in (0, 1, True, False) else (None, BAD_TYPE_MISMATCH)
    return _plain(found)


def _request(path: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": "request", "cid": 1, "adr": path, "data": data}


def write_json(point: Point, octets: bytes) -> Ask:
    """Set the whole output data of a device, or a parameter."""
    if point.what == "isdu":
        return Ask(_json_path(point).partition("?")[0], (), {"value": list(octets)}, "POST")
    body = {"iolink": {"valid": True, "value": list(octets)}}
    return Ask(f"/devices/{alias_of(point.device)}/processdata/value", (), body, "POST")


def write_iotcore(point: Point, octets: bytes) -> Ask:
    """The same. Raises DecodeError."""
    if point.what == "isdu":
        data = {"index": point.index, "subindex": point.subindex, "value": octets.hex().upper()}
        path = iotcore_path(point).replace("iolreadacyclic", "iolwriteacyclic")
        return Ask("/", (), _request(path, data), "POST")
    path = f"{iotcore_path(point)}/setdata"
    return Ask("/", (), {"code": "request", "cid": 1, "adr": path, "data": {"newvalue": octets.hex().upper()}}, "POST")


# -- both -------------------------------------------------------------------------------------------------------------


def with_substitutes(point: Point, reading: Reading) -> Reading:
    """A reading of a device with the Smart Sensor Profile: some numbers mean that there is none."""
    value, quality = reading
    if value is None or not quality.is_good:
        return reading
    quality = substitute_quality(point.field, value)
    return (value, quality) if quality.is_good else (None, quality)


def _plain(found: object) -> Reading:
    if found is None:
        return None, BAD_DATA_UNAVAILABLE
    return to_value(found), GOOD


def _members(found: object) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise DecodeError("answer has another shape", expected="an object", got=type(found).__name__)
    return found


# -- who a master is --------------------------------------------------------------------------------------------------


def identification(document: Mapping[str, Any]) -> dict[str, str]:
    """What a gateway says of itself (JSON Integration 1.0.0, 5.4.1), as texts."""
    names = {
        "product": "productName", "vendor": "vendorName", "serial": "serialNumber", "mac": "macAddress",
        "revision": "firmwareRevision",
    }  # fmt: skip
    found = {name: document.get(key) for name, key in names.items()}
    return {name: _line(value) for name, value in found.items() if isinstance(value, str | int) and value != ""}


def ports_connected(document: object) -> tuple[str, str]:
    """How many ports a master has, and which of them have an IO-Link device."""
    ports = [entry for entry in document if isinstance(entry, dict)] if isinstance(document, list) else []
    online = [str(entry.get("portNumber")) for entry in ports if entry.get("statusInfo") == "DEVICE_ONLINE"]
    return str(len(ports)), _line(", ".join(online)) or "none"


def core_points(paths: Iterable[str]) -> Ask:
    """Several data points of an IoT core in one request."""
    body = {"code": "request", "cid": 1, "adr": "/getdatamulti", "data": {"datatosend": list(paths)}}
    return Ask("/", (), body, "POST")


def core_texts(document: object, points: Mapping[str, str]) -> dict[str, str] | None:
    """The texts of `core_points` by name, without those that the core does not have; None when this is no answer."""
    answer = document if isinstance(document, dict) else {}
    entries = answer.get("data")
    if answer.get("code") != 200 or not isinstance(entries, dict):
        return None
    found = {name: entries.get(path) for name, path in points.items()}
    texts = {name: entry.get("data") for name, entry in found.items() if isinstance(entry, dict)}
    return {name: _line(text) for name, text in texts.items() if isinstance(text, str | int)}


def _line(value: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(value))[:LINE_CHARACTERS_MAX].strip()

"""Which machine tools an agent knows: one probe (MTConnect Part 1, clause 8). An adapter gives itself away.

An adapter of the simple protocol (SHDR) answers nothing, but sends what it has as soon as somebody connects.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.connectors.mtconnect._agent import get_xml
from millstream.kernel import DecodeError, ProtocolViolation, Unreachable
from millstream.protocols.mtconnect_xml import parse_devices
from millstream.sdk import Discovered, DiscoveryTools, Place

PROBE_BYTES_MAX = 16 << 20  # of a device model; those of whole cells have a megabyte
NAMES_MAX = 10
TEXT_CHARACTERS_MAX = 200
LINES_MAX = 20


async def find_agent(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The agent, or the adapter, at `place`. Raises Unreachable, ProtocolViolation when it is neither."""
    await tools.turn("MTConnect probe")
    url = f"http://{place}"
    try:
        answer = await get_xml(f"{url}/probe", timeout_s=tools.timeout_s, bytes_max=PROBE_BYTES_MAX)
    except ProtocolViolation as error:
        lines = shdr_lines(error.frame or b"")
        if not lines:
            raise
        keys = sorted({line.split("|")[1] for line in lines if "|" in line})
        config = {"mode": "shdr", "host": place.host, "port": place.port}
        facts = {"speaks": "SHDR", "items": _list(keys)}
        return [Discovered(str(place), "MTConnect adapter", config, facts)]
    if answer.status in (401, 403) or answer.status >= 500:
        raise Unreachable(f"agent answers with status {answer.status}", where=str(place))
    try:
        devices = parse_devices(answer.body)
    except DecodeError as error:
        raise ProtocolViolation("no MTConnect agent", where=str(place), got=f"status {answer.status}") from error
    names = list(dict.fromkeys(item.components[0] for item in devices.data_items))
    facts = {"devices": _list(names), "data_items": str(len(devices.data_items))}
    if devices.instance_id is not None:
        facts["instance"] = str(devices.instance_id)
    return [Discovered(str(place), _text(names[0]) if names else "agent", {"mode": "agent", "url": url}, facts)]


def shdr_lines(received: bytes) -> list[str]:
    """The lines of the simple protocol in `received`: a time and at least one key and value, or a command."""
    found = []
    for line in received.decode("utf-8", "replace").split("\n")[:LINES_MAX]:
        stamp, bar, rest = line.strip().partition("|")
        is_data = bool(bar) and stamp[:4].isdecimal() and "T" in stamp and "|" in rest
        if is_data or line.startswith("* "):
            found.append(line.strip())
    return found


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return _text(", ".join(names[:NAMES_MAX])) + more


def _text(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:TEXT_CHARACTERS_MAX].strip()

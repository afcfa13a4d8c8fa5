"""Which PLC is behind an address: a connection to the usual racks and slots, and what it says of itself (SZL).

The system status list (SZL) names order number, module and serial number; S7-1200 and S7-1500 keep parts of it back.
"""

from __future__ import annotations

from collections.abc import Sequence

from millstream.connectors.s7._config import S7Config
from millstream.connectors.s7._link import CODE_REFUSED, Link
from millstream.kernel import ProtocolViolation, Unreachable, format_duration
from millstream.sdk import Discovered, DiscoveryTools, Place

RACKS_AND_SLOTS = ((0, 1), (0, 2), (0, 0))  # S7-1200 and S7-1500; S7-300; communication processors and LOGO!


async def find_plc(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The PLC at `place`. Raises Unreachable when nothing answers, ProtocolViolation when it is none or refuses."""
    refusal: Unreachable | None = None
    for rack, slot in RACKS_AND_SLOTS:
        wait = format_duration(tools.timeout_s)
        config = S7Config.model_validate(
            {
                "host": place.host,
                "port": place.port,
                "rack": rack,
                "slot": slot,
                "timeout": wait,
                "connect_timeout": wait,
            }
        )
        link = Link(config)
        try:
            await tools.turn("connection")
            await link.open()
            return [await _described(place, config, link, tools)]
        except Unreachable as error:
            if error.code != CODE_REFUSED:
                raise
            refusal = error  # somebody who speaks ISO on TCP: the next slot may be right
        finally:
            link.close()
    raise ProtocolViolation(
        "a device of ISO on TCP refuses racks and slots", where=str(place), got=refusal.got if refusal else None,
        expected=", ".join(f"{rack}/{slot}" for rack, slot in RACKS_AND_SLOTS),
    ) from refusal  # fmt: skip


async def _described(place: Place, config: S7Config, link: Link, tools: DiscoveryTools) -> Discovered:
    await tools.turn("S7 system status list")
    found = await link.identity()
    await tools.turn("S7 system status list")
    state = await link.cpu_state()
    facts = {name: text for name, text in found.items() if text}
    if state is not None:
        facts["state"] = state[1]
    facts["pdu_bytes"] = str(link.pdu_bytes)
    settings = {"host": place.host, "port": place.port, "rack": config.rack, "slot": config.slot}
    name = facts.get("station") or facts.get("module") or facts.get("order_number") or "S7 PLC"
    return Discovered(str(place), name, settings, facts)

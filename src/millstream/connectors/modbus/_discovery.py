"""Which units answer behind an address: one register of each is read."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.connectors.modbus._config import ModbusConfig
from millstream.connectors.modbus._faults import fault
from millstream.connectors.modbus._link import Link, NoAnswer
from millstream.kernel import format_duration
from millstream.sdk import Discovered, DiscoveryTools, Place

GATEWAY_FAILURES = (10, 11)  # MODBUS Application Protocol 1.1b3, clause 7: nobody behind the gateway


async def find_units(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The units that answer a read of holding register 0, be it with an exception.

    Raises Unreachable when nobody takes the connection, ProtocolViolation when it is no Modbus that answers.
    """
    wait = format_duration(tools.timeout_s)
    config = ModbusConfig.model_validate(
        {"host": place.host, "port": place.port, "timeout": wait, "connect_timeout": wait}
    )
    link = Link(config, tools.clock)
    found: list[Discovered] = []
    try:
        await tools.turn("connection")
        await link.open()
        for unit_id in place.units:
            await tools.turn("Modbus read of holding register 0")
            answer = await _answer(link, unit_id)
            if answer is not None:
                settings = {"host": place.host, "port": place.port, "unit_id": unit_id}
                name = f"unit {unit_id}"
                found.append(Discovered(f"{place}/{unit_id}", name, settings, {"answer": answer}))
    finally:
        link.close()
    return found


async def _answer(link: Link, unit_id: int) -> str | None:
    """What the unit said; None when it is not there."""
    try:
        answer = await link.ask(lambda client: client.read_holding_registers(0, count=1, device_id=unit_id))
    except NoAnswer:
        return None
    if not answer.isError():
        return "holding register 0"
    if answer.exception_code in GATEWAY_FAILURES:
        return None
    return fault(answer.exception_code)[1]

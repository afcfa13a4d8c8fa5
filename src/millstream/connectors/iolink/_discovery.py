"""Which IO-Link master is behind an address: its own identification, in both dialects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.connectors.iolink._client import Client, open_client
from millstream.connectors.iolink._config import IoLinkConfig
from millstream.kernel import ProtocolViolation, format_duration
from millstream.protocols.iolink_master import Ask, core_points, core_texts, identification, ports_connected
from millstream.sdk import Discovered, DiscoveryTools, Place

JSON_PATH = "/iolink/v1"
CORE_POINTS = {
    "product": "/deviceinfo/productcode", "serial": "/deviceinfo/serialnumber", "vendor": "/deviceinfo/vendor"
}  # fmt: skip


async def find_master(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The master at `place`. Raises Unreachable when nothing answers, ProtocolViolation when it is none, AuthError."""
    for dialect, path in (("json", JSON_PATH), ("iotcore", "")):
        url = f"http://{place}{path}"
        wait = format_duration(min(tools.timeout_s, 25.0))
        config = IoLinkConfig.model_validate({"url": url, "dialect": dialect, "timeout": wait})
        await tools.turn("IO-Link identification")
        async with open_client(config) as client:
            facts = await (_json_facts if dialect == "json" else _core_facts)(client, tools)
        if facts is not None:
            name = facts.get("product") or "IO-Link master"
            return [Discovered(str(place), name, {"url": url, "dialect": dialect}, facts)]
    raise ProtocolViolation("this is no IO-Link master", where=str(place))


async def _json_facts(client: Client, tools: DiscoveryTools) -> dict[str, str] | None:
    try:
        status, document = await client.ask(Ask("/gateway/identification", ()))
    except ProtocolViolation:
        return None  # a web page, which the other dialect may lie behind
    if status != 200 or not isinstance(document, Mapping):
        return None
    facts = identification(document)
    await tools.turn("IO-Link ports")
    status, document = await client.ask(Ask("/masters/1/ports", ()))
    if status == 200:
        facts["ports"], facts["connected"] = ports_connected(document)
    return facts


async def _core_facts(client: Client, tools: DiscoveryTools) -> dict[str, str] | None:
    status, document = await client.ask(core_points(CORE_POINTS.values()))
    return core_texts(document, CORE_POINTS) if status == 200 else None

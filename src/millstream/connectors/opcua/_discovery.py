"""Who an OPC UA server is and which endpoints it has: FindServers and GetEndpoints (OPC 10000-4, 5.5).

Both need a channel without security and no session, so nobody logs in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from asyncua import Client, ua
from asyncua.client.client import Shortcuts

from millstream.connectors.opcua._config import SecurityPolicy
from millstream.connectors.opcua._faults import translated
from millstream.connectors.opcua._link import quiet_library
from millstream.connectors.opcua._transport import GuardedClient, GuardedProtocol
from millstream.kernel import DecodeError
from millstream.sdk import Discovered, DiscoveryTools, Place

MESSAGE_BYTES_MAX = 1 << 20  # of both answers; a hundred endpoints with their certificates are less
TEXT_CHARACTERS_MAX = 200
_POLICIES = {
    "None": SecurityPolicy.NONE,
    "Basic256Sha256": SecurityPolicy.BASIC256SHA256,
    "Aes128_Sha256_RsaOaep": SecurityPolicy.AES128_SHA256_RSA_OAEP,
    "Aes256_Sha256_RsaPss": SecurityPolicy.AES256_SHA256_RSA_PSS,
}
_BEST_FIRST = ("Aes256_Sha256_RsaPss", "Aes128_Sha256_RsaOaep", "Basic256Sha256")


async def find_servers(place: Place, tools: DiscoveryTools) -> Sequence[Discovered]:
    """The server at `place`. Other servers that it knows are named, never asked.

    Raises Unreachable when nothing answers, ProtocolViolation when it is no OPC UA that answers.
    """
    quiet_library()
    url = f"opc.tcp://{place}"
    client = Client(url, timeout=tools.timeout_s)
    channel = GuardedClient(tools.timeout_s, MESSAGE_BYTES_MAX)
    client.uaclient = channel
    client.nodes = Shortcuts(channel.session)
    await tools.turn("connection")
    with translated(url):
        await client.connect_socket()
    protocol = channel.protocol
    violation = protocol.violation if isinstance(protocol, GuardedProtocol) else []
    try:
        with translated(url, violation):
            await client.send_hello()
            await client.open_secure_channel()
            await tools.turn("OPC UA GetEndpoints")
            endpoints = await client.get_endpoints()
            await tools.turn("OPC UA FindServers")
            servers = await client.find_servers()
            await channel.close_secure_channel()
    finally:
        if isinstance(protocol, GuardedProtocol):
            protocol.abort()
        channel.disconnect_socket()
    return [_described(place, list(endpoints or ()), list(servers or ()))]


def _described(place: Place, endpoints: list[Any], servers: list[Any]) -> Discovered:
    binary = [end for end in endpoints if str(end.EndpointUrl or "").startswith("opc.tcp://")]
    if not binary:
        raise DecodeError("the OPC UA server names no endpoint", where=str(place))
    own = binary[0].Server
    securities = sorted({f"{_policy(end)}/{_mode(end)}" for end in binary})
    others = [_text(s.ApplicationUri) for s in servers if s.ApplicationUri != own.ApplicationUri]
    path = _text(urlsplit(str(binary[0].EndpointUrl)).path).rstrip("/")
    facts = {
        "application_uri": _text(own.ApplicationUri),
        "product_uri": _text(own.ProductUri),
        "endpoint": _text(binary[0].EndpointUrl),
        "security": ", ".join(securities),
    }
    if others:
        facts["knows"] = ", ".join(others[:10])
    # The place that was asked, since servers like to name a host that only they can resolve.
    config = {"endpoint": f"opc.tcp://{place}{path}", "security": _security({_policy(end) for end in binary})}
    return Discovered(str(place), _text(own.ApplicationName.Text) or "OPC UA server", config, facts)


def _security(policies: set[str]) -> dict[str, str]:
    """What to write first: no security where the server allows it, else the strongest policy with a folder of ours."""
    if "None" in policies:
        return {"policy": "none"}
    best = next((name for name in _BEST_FIRST if name in policies), "Basic256Sha256")
    return {"policy": _POLICIES[best].value, "pki": "pki"}


def _policy(endpoint: Any) -> str:
    return _text(str(endpoint.SecurityPolicyUri or "").rpartition("#")[2])


def _mode(endpoint: Any) -> str:
    return str(ua.MessageSecurityMode(endpoint.SecurityMode).name).rstrip("_")


def _text(value: object) -> str:
    """A foreign text on one line of bounded length."""
    return "".join(c if c.isprintable() else " " for c in str(value or ""))[:TEXT_CHARACTERS_MAX].strip()

"""One open link to a server: socket, secure channel, session, what the server allows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from asyncua import Client, ua
from asyncua.client.client import Shortcuts

from millstream.connectors.opcua._address import Address, BrowsePath
from millstream.connectors.opcua._config import OpcUaConfig, SecurityPolicy
from millstream.connectors.opcua._faults import silent, translated
from millstream.connectors.opcua._mapping import StructureReader
from millstream.connectors.opcua._responses import ResponseReader
from millstream.connectors.opcua._security import Protection
from millstream.connectors.opcua._transport import GuardedClient, GuardedProtocol
from millstream.kernel import Unreachable
from millstream.sdk import ConnectorTools

CLOSE_TIMEOUT_S = 1.0
RENEW_RATIO = 0.75  # of the channel's lifetime (OPC 10000-4, 5.6.2.1)
SERVICE_LEVEL_MAX = 255  # also of a server that does not state its level
_WHOLE_PATH = 0xFFFFFFFF  # as the index of what remains of a path
NODES_PER_REQUEST_MAX = 1000  # where the server states no limit
_LIMITS = {
    "read": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    "write": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
    "translate": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
    "browse": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    "monitor": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    "history": ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
}


class Link:
    """The services of one session. Each raises Unreachable, AuthError or ProtocolViolation."""

    def __init__(self, config: OpcUaConfig, tools: ConnectorTools, endpoint: str) -> None:
        self.where = endpoint
        self.service_level = SERVICE_LEVEL_MAX
        self.timeout_s = config.request_timeout
        self.namespaces: list[str] = []
        self.limits: dict[str, int] = dict.fromkeys(_LIMITS, NODES_PER_REQUEST_MAX)
        self.structures = StructureReader(self.namespaces)
        self.responses = ResponseReader(self.namespaces, self.structures.read)
        self._config = config
        self._tools = tools
        self._renew_at_ns = 0
        self._renewing = asyncio.Lock()
        self._client = Client(endpoint, timeout=config.request_timeout)
        self._ua = GuardedClient(config.request_timeout, config.message_bytes_max)
        self._client.uaclient = self._ua
        self._client.nodes = Shortcuts(self._ua.session)
        self._client.name = "Millstream"
        self._client.description = f"Millstream {tools.name}"
        self._client.product_uri = "urn:millstream"
        self._client.session_timeout = int(config.session_timeout * 1000)
        self._client.secure_channel_timeout = int(config.channel_lifetime * 1000)
        self._client.application_uri = config.application_uri or "urn:millstream:client"
        self._protection = Protection(self._client, config, self.where, tools)

    @property
    def protocol(self) -> GuardedProtocol:
        """The transport. Raises Unreachable when it is gone."""
        protocol = self._ua.protocol
        if not isinstance(protocol, GuardedProtocol) or protocol.is_closed:
            raise silent(self.where, "the link to the OPC UA server is closed")
        return protocol

    async def open(self) -> None:
        """Connect, secure, log in, and read what the server allows."""
        quiet_library()
        is_open = False
        try:
            with translated(self.where):
                await self._protection.secure()
            await self._connect()
            with translated(self.where, self.protocol.violation):
                await self._learn()
            is_open = True
        finally:
            if not is_open:
                await self.close()

    async def close(self) -> None:
        """Log out if there is still somebody to talk to, within a second; then drop the socket."""
        protocol = self._ua.protocol
        if not isinstance(protocol, GuardedProtocol):
            return
        try:
            if not protocol.is_closed and self._ua.session.has_session:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._ua.close_session(True)
                    await self._ua.close_secure_channel()
        except (OSError, TimeoutError, ua.UaError) as error:
            self._tools.log.info("opcua_close_unclean", reason=type(error).__name__)
        finally:
            protocol.abort()
            self._ua.disconnect_socket()
        if not protocol.closed.done():
            await asyncio.wait([protocol.closed], timeout=CLOSE_TIMEOUT_S)

    # Services

    async def request(self, request: Any, timeout_s: float | None = None) -> bytes:
        """Send one request, give the bytes of its response."""
        protocol = self.protocol
        with translated(self.where, protocol.violation):
            return bytes(await protocol.send_request(request, timeout_s))

    async def browse(self, parameters: ua.BrowseParameters) -> list[ua.BrowseResult]:
        """Browse (OPC 10000-4, 5.9.2)."""
        with translated(self.where, self.protocol.violation):
            return await self._ua.browse(parameters)

    async def browse_next(self, parameters: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        """BrowseNext (5.9.3)."""
        with translated(self.where, self.protocol.violation):
            return await self._ua.browse_next(parameters)

    async def read_attributes(self, nodes: Sequence[ua.NodeId], attribute: ua.AttributeIds) -> list[ua.DataValue]:
        """One attribute of many nodes, as asyncua's objects: for set-up, not for data."""
        found: list[ua.DataValue] = []
        for at in range(0, len(nodes), self.limits["read"]):
            with translated(self.where, self.protocol.violation):
                found += await self._ua.read_attributes(list(nodes[at : at + self.limits["read"]]), attribute)
        return found

    async def write_values(self, nodes: Sequence[ua.NodeId], values: Sequence[ua.DataValue]) -> list[ua.StatusCode]:
        """Write the Value attribute of `nodes`."""
        with translated(self.where, self.protocol.violation):
            return await self._ua.write_attributes(list(nodes), list(values))

    async def create_subscription(self, parameters: ua.CreateSubscriptionParameters) -> ua.CreateSubscriptionResult:
        """CreateSubscription, without asyncua's own publish loop."""
        request = ua.CreateSubscriptionRequest()
        request.Parameters = parameters
        data = await self.request(request)
        with translated(self.where, self.protocol.violation):
            response = ua.ua_binary.struct_from_binary(ua.CreateSubscriptionResponse, ua.utils.Buffer(data))
            response.ResponseHeader.ServiceResult.check()
        return response.Parameters

    async def create_monitored_items(
        self, parameters: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """CreateMonitoredItems (5.12.2)."""
        with translated(self.where, self.protocol.violation):
            return await self._ua.create_monitored_items(parameters)

    async def call(self, node: ua.NodeId, method: ua.NodeId, arguments: Sequence[ua.Variant]) -> ua.CallMethodResult:
        """Call one method of `node` (5.12.2)."""
        with translated(self.where, self.protocol.violation):
            return (await self._ua.call([ua.CallMethodRequest(node, method, list(arguments))]))[0]

    async def load_structures(self) -> None:
        """Read the server's own structure definitions; a server that has none or odd ones is left as it is."""
        try:
            async with asyncio.timeout(10 * self._config.request_timeout):
                found = await self._client.load_data_type_definitions()
        except (ua.UaError, TimeoutError, AttributeError, TypeError, ValueError) as error:
            self._tools.log.warning("opcua_structures_unreadable", reason=f"{type(error).__name__}: {error}"[:200])
            return
        self.structures.learn(found)

    async def keep_channel(self) -> None:
        """Renew the secure channel at three quarters of its life. Writes may ask for it beside the stream."""
        async with self._renewing:
            if self._tools.clock.monotonic_ns() < self._renew_at_ns:
                return
            with translated(self.where, self.protocol.violation):
                await self._client.open_secure_channel(renew=True)
                self._ua.revolve_security_token()
            self._plan_renewal()
            # The server keeps to its old keys until it sees the new token: on a quiet link that may be after their end.
            await self.check()

    async def check(self) -> None:
        """A small read that proves that the server answers."""
        await self.request(read_request([ua.NodeId(ua.ObjectIds.Server_ServerStatus_State)]))

    async def resolve(self, addresses: Sequence[Address]) -> list[ua.NodeId | int]:
        """The nodes at this server; a StatusCode for one that it does not know."""
        found: list[ua.NodeId | int] = [ua.StatusCodes.BadNodeIdUnknown] * len(addresses)
        paths: list[tuple[int, ua.BrowsePath]] = []
        for i, address in enumerate(addresses):
            if isinstance(address, BrowsePath):
                path = browse_path(address, self.namespaces)
                if path is not None:
                    paths.append((i, path))
                continue
            index = address.index_in(self.namespaces)
            if index is not None:
                found[i] = ua.NodeId(address.identifier, index)
        for at in range(0, len(paths), self.limits["translate"]):
            part = paths[at : at + self.limits["translate"]]
            with translated(self.where, self.protocol.violation):
                results = await self._ua.translate_browsepaths_to_nodeids([path for _, path in part])
            for (i, _), result in zip(part, results, strict=False):
                found[i] = path_target(result)
        return found

    async def delete_monitored_items(self, subscription_id: int, items: Sequence[int]) -> None:
        """DeleteMonitoredItems (5.13.6); what the server has forgotten already is no error."""
        for at in range(0, len(items), self.limits["monitor"]):
            part = list(items[at : at + self.limits["monitor"]])
            with translated(self.where, self.protocol.violation):
                await self._ua.delete_monitored_items(ua.DeleteMonitoredItemsParameters(subscription_id, part))

    # Opening

    async def _connect(self) -> None:
        client = self._client
        with translated(self.where):
            await client.connect_socket()
        violation = self.protocol.violation
        with translated(self.where, violation):
            await client.send_hello()
            await self._open_channel()
            await client.create_session()
            await self._protection.activate()
        self._plan_renewal()

    async def _open_channel(self) -> None:
        try:
            await self._client.open_secure_channel()
        except (ConnectionError, TimeoutError) as error:
            if self._config.security.policy is SecurityPolicy.NONE:
                raise
            # Servers tell nothing to a client whose certificate they do not trust: they just hang up.
            raise Unreachable(
                "the OPC UA server closed the link while the secure channel was opened",
                where=self.where,
                next_step="trust this client's certificate at the server",
            ) from error

    def _plan_renewal(self) -> None:
        lifetime_ns = int(self._client.secure_channel_timeout * 1e6 * RENEW_RATIO)
        self._renew_at_ns = self._tools.clock.monotonic_ns() + lifetime_ns

    async def _learn(self) -> None:
        """Namespaces, service level and limits, in one read."""
        fixed = (ua.ObjectIds.Server_NamespaceArray, ua.ObjectIds.Server_ServiceLevel)
        nodes = [*(ua.NodeId(node) for node in fixed), *(ua.NodeId(node) for node in _LIMITS.values())]
        found = self.responses.values(bytes(await self.protocol.send_request(read_request(nodes))))
        if not isinstance(found, list) or len(found) != len(nodes):
            raise silent(self.where, "the OPC UA server does not state its namespaces")
        names = found[0].value
        if isinstance(names, list):
            self.namespaces += [str(name) for name in names]
        if isinstance(found[1].value, int):
            self.service_level = found[1].value
        for name, value in zip(_LIMITS, found[2:], strict=True):
            if isinstance(value.value, int) and value.value > 0:
                self.limits[name] = min(value.value, NODES_PER_REQUEST_MAX)


def read_request(nodes: Sequence[ua.NodeId]) -> ua.ReadRequest:
    """A request for the values of `nodes` with their source times."""
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Source
    request.Parameters.NodesToRead = [ua.ReadValueId(n, ua.AttributeIds.Value) for n in nodes]
    return request


def browse_path(address: BrowsePath, namespaces: Sequence[str]) -> ua.BrowsePath | None:
    """As TranslateBrowsePathsToNodeIds takes it (5.9.4); None when the server does not know a namespace."""
    path = ua.BrowsePath()
    path.StartingNode = ua.NodeId(ua.ObjectIds.RootFolder)
    for step in address.steps:
        index = step.index_in(namespaces)
        if index is None:
            return None
        element = ua.RelativePathElement()
        element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
        element.IsInverse = False
        element.IncludeSubtypes = True
        element.TargetName = ua.QualifiedName(step.name, index)
        path.RelativePath.Elements.append(element)
    return path


def path_target(result: ua.BrowsePathResult) -> ua.NodeId | int:
    """The one node at the end of a path, or why there is none: a path that leads to two is no address."""
    if result.StatusCode.value >> 31:
        return int(result.StatusCode.value)
    nodes = {ua.NodeId(target.TargetId.Identifier, target.TargetId.NamespaceIndex) for target in result.Targets or ()
             if target.RemainingPathIndex == _WHOLE_PATH}  # fmt: skip
    if len(nodes) > 1:
        return int(ua.StatusCodes.BadTooManyMatches)
    return nodes.pop() if nodes else int(ua.StatusCodes.BadNoMatch)


def quiet_library() -> None:
    """asyncua logs each lost link with its traceback; the runtime reports it once, in our words."""
    logger = logging.getLogger("asyncua")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL + 1)

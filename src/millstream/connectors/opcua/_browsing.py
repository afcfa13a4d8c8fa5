"""Browsing: every variable below a node, with its type and unit."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from asyncua import ua

from millstream.connectors.opcua._address import parse_address
from millstream.connectors.opcua._binary import node_id_text
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._mapping import type_name
from millstream.kernel import NotFoundError
from millstream.sdk import NodeInfo

NODES_PER_REQUEST = 50  # small answers keep a slow server responsive
REFERENCES_PER_NODE = 1000
_WRITE = 0x02  # bit of AccessLevel (OPC 10000-3, 8.57)
_UNITS = "EngineeringUnits"
_Found = tuple[Any, tuple[str, ...]]  # reference, groups


class Browser:
    """Walks the hierarchical references of a server, each node once, and describes the variables."""

    def __init__(self, link: Link, nodes_max: int, *, with_properties: bool) -> None:
        self._link = link
        self._nodes_max = nodes_max
        self._with_properties = with_properties

    async def browse(self, root: str | None) -> AsyncGenerator[NodeInfo, None]:
        """Yield the variables below `root`. Properties give a variable its unit; they are yielded only if asked for."""
        start = ua.NodeId(ua.ObjectIds.ObjectsFolder)
        if root is not None:
            (node,) = await self._link.resolve([parse_address(root)])
            if isinstance(node, int):
                raise NotFoundError("the OPC UA server does not know the node", where=root, got=status_name(node))
            start = node
        seen = {start}
        if root is None:
            seen.add(ua.NodeId(ua.ObjectIds.Server))
        queue: deque[tuple[ua.NodeId, tuple[str, ...]]] = deque([(start, ())])
        while queue and len(seen) < self._nodes_max:
            part = [queue.popleft() for _ in range(min(len(queue), NODES_PER_REQUEST, self._link.limits["browse"]))]
            found = await self._level(part, seen)
            for reference, groups in found:
                queue.append((reference.NodeId, (*groups, _name(reference))))
            variables = [item for item in found if item[0].NodeClass == ua.NodeClass.Variable]
            async for info in self._describe(variables):
                yield info

    async def _level(self, part: Sequence[tuple[ua.NodeId, tuple[str, ...]]], seen: set[ua.NodeId]) -> list[_Found]:
        """What lies right below `part` and was not seen yet."""
        found: list[_Found] = []
        for (_, groups), references in zip(part, await self._references([n for n, _ in part]), strict=True):
            for reference in references:
                is_property = reference.ReferenceTypeId == ua.NodeId(ua.ObjectIds.HasProperty)
                if is_property and not self._with_properties:
                    continue
                if reference.NodeId not in seen and len(seen) < self._nodes_max:
                    seen.add(reference.NodeId)
                    found.append((reference, groups))
        return found

    async def _references(self, nodes: Sequence[ua.NodeId]) -> list[list[Any]]:
        parameters = ua.BrowseParameters()
        parameters.RequestedMaxReferencesPerNode = REFERENCES_PER_NODE
        parameters.NodesToBrowse = [_description(node) for node in nodes]
        results = await self._link.browse(parameters)
        references: list[list[Any]] = [list(result.References or ()) for result in results]
        waiting = [(i, r.ContinuationPoint) for i, r in enumerate(results) if r.ContinuationPoint]
        while waiting:
            following = ua.BrowseNextParameters()
            following.ReleaseContinuationPoints = False
            following.ContinuationPoints = [point for _, point in waiting]
            nexts = await self._link.browse_next(following)
            for (i, _), result in zip(waiting, nexts, strict=True):
                references[i] += result.References or ()
            waiting = [
                (i, r.ContinuationPoint) for (i, _), r in zip(waiting, nexts, strict=True) if r.ContinuationPoint
            ]
        return references

    async def _describe(self, found: Sequence[_Found]) -> AsyncGenerator[NodeInfo, None]:
        if not found:
            return
        nodes = [reference.NodeId for reference, _ in found]
        types = await self._link.read_attributes(nodes, ua.AttributeIds.DataType)
        ranks = await self._link.read_attributes(nodes, ua.AttributeIds.ValueRank)
        levels = await self._link.read_attributes(nodes, ua.AttributeIds.UserAccessLevel)
        texts = await self._link.read_attributes(nodes, ua.AttributeIds.Description)
        # A variable's properties are below it: they are asked for here rather than one level later.
        units = await self._units_of(nodes)
        for i, (reference, groups) in enumerate(found):
            name = type_name(_plain(types[i]))
            rank, level, text = _plain(ranks[i]), _plain(levels[i]), _plain(texts[i])
            yield NodeInfo(
                address=self._address(reference.NodeId),
                name=_name(reference),
                groups=groups,
                data_type=f"{name}[]" if name and isinstance(rank, int) and rank >= 0 else name,
                unit=units.get(reference.NodeId),
                description=str(text.Text) if text is not None and text.Text else None,
                is_writable=isinstance(level, int) and bool(level & _WRITE),
            )

    async def _units_of(self, nodes: Sequence[ua.NodeId]) -> dict[ua.NodeId, str]:
        properties: dict[ua.NodeId, ua.NodeId] = {}
        for at in range(0, len(nodes), self._link.limits["browse"]):
            part = nodes[at : at + self._link.limits["browse"]]
            for node, references in zip(part, await self._references(part), strict=True):
                for reference in references:
                    if reference.BrowseName.Name == _UNITS:
                        properties[node] = reference.NodeId
        if not properties:
            return {}
        values = await self._link.read_attributes(list(properties.values()), ua.AttributeIds.Value)
        units = {}
        for node, value in zip(properties, values, strict=True):
            text = getattr(getattr(_plain(value), "DisplayName", None), "Text", None)
            if text:
                units[node] = str(text)
        return units

    def _address(self, node: ua.NodeId) -> str:
        return node_id_text(node.NamespaceIndex, node.Identifier, self._link.namespaces)


def _description(node: ua.NodeId) -> ua.BrowseDescription:
    description = ua.BrowseDescription()
    description.NodeId = node
    description.BrowseDirection = ua.BrowseDirection.Forward
    description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
    description.IncludeSubtypes = True
    description.NodeClassMask = ua.NodeClass.Object | ua.NodeClass.Variable
    description.ResultMask = ua.BrowseResultMask.All
    return description


def _name(reference: Any) -> str:
    return str(reference.BrowseName.Name or reference.NodeId.Identifier)


def _plain(value: ua.DataValue) -> Any:
    return value.Value.Value if value.Value is not None else None

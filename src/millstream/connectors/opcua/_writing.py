"""Writes: each value in the type that the node has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from asyncua import ua

from millstream.connectors.opcua._address import Address, parse_address
from millstream.connectors.opcua._conditions import Conditions
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._mapping import WriteRefused, as_read, to_quality, to_variant
from millstream.connectors.opcua._methods import MethodCaller
from millstream.connectors.opcua._structures import to_structure
from millstream.kernel import ConfigError
from millstream.model import BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, Value
from millstream.sdk import Write, WriteResult

TYPES_MAX = 100_000  # nodes whose type is remembered; a server that renames its nodes gives ever new ones
_BUILT_IN_MAX = 25


class Writer:
    """Writes values over one link and remembers the nodes' types."""

    def __init__(self, link: Link, conditions: Conditions) -> None:
        self._link = link
        self._conditions = conditions
        self._has_definitions = False
        self._structures: dict[ua.NodeId, type] = {}  # asyncua's class of each structured node; of those in `_types`
        self._methods = MethodCaller(link, self._built_in)
        self._types: dict[ua.NodeId, tuple[ua.VariantType, bool]] = {}  # bounded by TYPES_MAX

    async def write(self, writes: Sequence[Write]) -> list[WriteResult]:
        """One result a write, in order. Raises only when the link is gone."""
        results: list[WriteResult | None] = [None] * len(writes)
        addresses: dict[int, Address] = {}
        for i, write in enumerate(writes):
            try:
                addresses[i] = parse_address(write.tag.address)
            except ConfigError as error:
                results[i] = WriteResult(BAD_NODE_ID_UNKNOWN, error.what)
                continue
            mode = write.tag.options.get("mode")
            if mode in ("method", "events"):
                del addresses[i]
                call = self._methods.call if mode == "method" else self._conditions.act
                results[i] = await call(write.tag, write.value)
        nodes: dict[int, ua.NodeId] = {}
        for i, node in zip(addresses, await self._link.resolve(list(addresses.values())), strict=True):
            if isinstance(node, int):
                results[i] = WriteResult(to_quality(node), status_name(node))
            else:
                nodes[i] = node
        await self._learn_types({node for i, node in nodes.items() if writes[i].value is not None})
        values: dict[int, ua.DataValue] = {}
        for i in nodes:
            try:
                values[i] = self._value(writes[i], nodes[i])
            except WriteRefused as error:
                results[i] = WriteResult(error.quality, error.what)
        for part in _parts(list(values), self._link.limits["write"]):
            statuses = await self._link.write_values([nodes[i] for i in part], [values[i] for i in part])
            for i, status in zip(part, statuses, strict=True):
                results[i] = self._result(int(status.value), values[i])
        return [result or WriteResult(BAD_TYPE_MISMATCH, "the server gave no answer for it") for result in results]

    def _result(self, code: int, value: ua.DataValue) -> WriteResult:
        if code >> 30:
            return WriteResult(to_quality(code), status_name(code))
        written = as_read(value.Value, self._link.namespaces, self._link.structures)
        return WriteResult(to_quality(code), written=written)

    def _value(self, write: Write, node: ua.NodeId) -> ua.DataValue:
        if write.value is None:
            self._types.pop(node, None)  # where any type is taken, the next value may have another one
            return ua.DataValue(ua.Variant(), StatusCode=None)
        known = self._types.get(node)
        if known is None:
            raise WriteRefused("the node's type is not known", BAD_NODE_ID_UNKNOWN)
        kind, is_array = known
        if kind is ua.VariantType.ExtensionObject:
            return ua.DataValue(self._structured(write.value, node, is_array=is_array), StatusCode=None)
        variant = to_variant(write.value, kind, is_array=is_array, namespaces=self._link.namespaces)
        # Many controllers refuse a write that carries a time or a status (OPC 10000-4, 5.10.4.2).
        return ua.DataValue(variant, StatusCode=None)

    def _structured(self, value: Value, node: ua.NodeId, *, is_array: bool) -> ua.Variant:
        kind = self._structures.get(node)
        if kind is None:
            raise WriteRefused("the server does not describe the structure, or the node holds none yet")
        if is_array != isinstance(value, list):
            raise WriteRefused(f"expected {'an array' if is_array else 'one structure'}")
        items = [to_structure(item, kind, self._link.namespaces) for item in _as_list(value)]
        return ua.Variant(items if is_array else items[0], ua.VariantType.ExtensionObject, is_array=is_array)

    async def _learn_types(self, nodes: set[ua.NodeId]) -> None:
        unknown = [node for node in nodes if node not in self._types]
        if not unknown:
            return
        if len(self._types) + len(unknown) > TYPES_MAX:
            self._types.clear()
            self._structures.clear()
            unknown = list(nodes)
        types = await self._link.read_attributes(unknown, ua.AttributeIds.DataType)
        await self._learn_definitions(types)
        ranks = await self._link.read_attributes(unknown, ua.AttributeIds.ValueRank)
        for node, data_type, rank in zip(unknown, types, ranks, strict=True):
            found = data_type.Value.Value if data_type.Value is not None else None
            if not isinstance(found, ua.NodeId):
                continue
            kind = await self._built_in(found)
            if kind is not None:
                value_rank = rank.Value.Value if rank.Value is not None else -1
                self._types[node] = kind, isinstance(value_rank, int) and value_rank >= 0
        await self._correct_from_values([node for node in unknown if node in self._types])

    async def _learn_definitions(self, types: Sequence[ua.DataValue]) -> None:
        """Once a link, when a node has a type of the server's own: its class is needed to read and to write it."""
        own = [t for t in types if t.Value is not None and getattr(t.Value.Value, "NamespaceIndex", None)]
        if own and not self._has_definitions:
            self._has_definitions = True
            await self._link.load_structures()

    async def _correct_from_values(self, nodes: Sequence[ua.NodeId]) -> None:
        """Where the node holds a value, that tells its type best (abstract types, any rank)."""
        values = await self._link.read_attributes(nodes, ua.AttributeIds.Value)
        for node, value in zip(nodes, values, strict=True):
            variant = value.Value
            if variant is not None and isinstance(variant.VariantType, ua.VariantType) and variant.VariantType.value:
                self._types[node] = variant.VariantType, bool(variant.is_array)
                self._learn_structure(node, variant)

    def _learn_structure(self, node: ua.NodeId, variant: ua.Variant) -> None:
        first = next(iter(variant.Value), None) if isinstance(variant.Value, list) else variant.Value
        if dataclasses.is_dataclass(first) and not isinstance(first, ua.ExtensionObject | type):
            self._structures[node] = type(first)

    async def _built_in(self, data_type: ua.NodeId) -> ua.VariantType | None:
        """The built-in type below a data type: its nearest ancestor among i=1 to i=25."""
        for _ in range(20):  # deeper type trees do not exist
            number = data_type.Identifier
            if data_type.NamespaceIndex == 0 and isinstance(number, int):
                if number == ua.ObjectIds.Enumeration:
                    return ua.VariantType.Int32
                if 0 < number <= _BUILT_IN_MAX:
                    return ua.VariantType(number)
            description = ua.BrowseDescription()
            description.NodeId = data_type
            description.BrowseDirection = ua.BrowseDirection.Inverse
            description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasSubtype)
            description.ResultMask = 0
            parameters = ua.BrowseParameters()
            parameters.NodesToBrowse = [description]
            results = await self._link.browse(parameters)
            if not results or not results[0].References:
                return None
            data_type = results[0].References[0].NodeId
        return None


def _as_list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else [value]


def _parts(items: list[int], size: int) -> list[list[int]]:
    return [items[at : at + size] for at in range(0, len(items), size)]

"""Methods as targets of writes: the value holds the arguments (OPC 10000-4, 5.12.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from asyncua import ua

from millstream.connectors.opcua._address import Address, BrowsePath, parse_address
from millstream.connectors.opcua._config import TagOptions
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._mapping import WriteRefused, to_quality, to_variant
from millstream.model import BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, Value
from millstream.sdk import Tag, WriteResult

BuiltIn = Callable[[ua.NodeId], Awaitable[ua.VariantType | None]]
_INPUT_ARGUMENTS = "InputArguments"


@dataclass(frozen=True, slots=True)
class _Argument:
    name: str
    kind: ua.VariantType
    is_array: bool


class MethodCaller:
    """Calls methods over one link. `built_in` gives the built-in type below a data type."""

    def __init__(self, link: Link, built_in: BuiltIn) -> None:
        self._link = link
        self._built_in = built_in

    async def call(self, tag: Tag, value: Value) -> WriteResult:
        """Call the method that the tag's address names. Raises only when the link is gone."""
        address = parse_address(tag.address)
        options = TagOptions.model_validate(dict(tag.options))
        try:
            (method,) = await self._link.resolve([address])
            if isinstance(method, int):
                return WriteResult(to_quality(method), status_name(method))
            owner = await self._owner(method, address, options)
            arguments = await self._arguments(method)
            variants = self._variants(arguments, value)
        except WriteRefused as error:
            return WriteResult(error.quality, error.what)
        result = await self._link.call(owner, method, variants)
        code = int(result.StatusCode.value)
        reason = status_name(code) if code >> 30 else None
        for argument, status in zip(arguments, result.InputArgumentResults or (), strict=False):
            if int(status.value) >> 31:
                reason = f"{reason}: argument {argument.name!r} is {status_name(int(status.value))}"
        return WriteResult(to_quality(code), reason)

    async def _owner(self, method: ua.NodeId, address: Address, options: TagOptions) -> ua.NodeId:
        """The object that the method is called on: as configured, the one above it in its path, or the only one."""
        above: Address | None = None
        if options.method_object is not None:
            above = parse_address(options.method_object)
        elif isinstance(address, BrowsePath) and len(address.steps) > 1:
            above = BrowsePath(address.steps[:-1])
        if above is not None:
            (owner,) = await self._link.resolve([above])
            if isinstance(owner, int):
                raise WriteRefused(f"the method's object is not there: {status_name(owner)}", to_quality(owner))
            return owner
        found = await self._references(method, ua.BrowseDirection.Inverse, ua.ObjectIds.HierarchicalReferences)
        owners = {
            ua.NodeId(reference.NodeId.Identifier, reference.NodeId.NamespaceIndex)
            for reference in found
            if reference.NodeClass == ua.NodeClass.Object
        }
        if len(owners) != 1:
            raise WriteRefused(
                f"the method belongs to {len(owners)} objects: name one with 'method_object'", BAD_NODE_ID_UNKNOWN
            )
        return owners.pop()

    async def _arguments(self, method: ua.NodeId) -> list[_Argument]:
        found = await self._references(method, ua.BrowseDirection.Forward, ua.ObjectIds.HasProperty)
        nodes = [reference.NodeId for reference in found if reference.BrowseName.Name == _INPUT_ARGUMENTS]
        if not nodes:
            return []
        (value,) = await self._link.read_attributes(nodes[:1], ua.AttributeIds.Value)
        stated = value.Value.Value if value.Value is not None else None
        arguments = []
        for item in stated or ():
            kind = await self._built_in(item.DataType)
            if kind is None:
                raise WriteRefused(f"the type of argument {item.Name!r} is not known")
            arguments.append(_Argument(str(item.Name), kind, item.ValueRank >= 0))
        return arguments

    async def _references(
        self, node: ua.NodeId, direction: ua.BrowseDirection, kind: int
    ) -> Sequence[ua.ReferenceDescription]:
        description = ua.BrowseDescription()
        description.NodeId = node
        description.BrowseDirection = direction
        description.ReferenceTypeId = ua.NodeId(kind)
        description.IncludeSubtypes = True
        description.ResultMask = ua.BrowseResultMask.All
        parameters = ua.BrowseParameters()
        parameters.NodesToBrowse = [description]
        results = await self._link.browse(parameters)
        return results[0].References or () if results else ()

    def _variants(self, arguments: Sequence[_Argument], value: Value) -> list[ua.Variant]:
        values = given_arguments([argument.name for argument in arguments], value)
        found = []
        for argument, item in zip(arguments, values, strict=True):
            try:
                found.append(
                    to_variant(item, argument.kind, is_array=argument.is_array, namespaces=self._link.namespaces)
                )
            except WriteRefused as error:
                raise WriteRefused(f"argument {argument.name!r}: {error.what}", error.quality) from error
        return found


def given_arguments(names: Sequence[str], value: Value) -> list[Value]:
    """The arguments in order: a mapping by name, a list in order, one value for the only one, true for none.

    Raises WriteRefused."""
    if isinstance(value, dict):
        if set(value) != set(names):
            expected, got = ", ".join(names) or "none", ", ".join(value) or "none"
            raise WriteRefused(f"expected the arguments {expected}, got {got}")
        return [value[name] for name in names]
    if len(names) == 1:
        return [value]
    if not names:
        if value is True or value == []:
            return []
        raise WriteRefused("the method takes no arguments: write true to call it")
    if not isinstance(value, list) or len(value) != len(names):
        raise WriteRefused(f"expected a list of {len(names)} arguments: {', '.join(names)}", BAD_TYPE_MISMATCH)
    return list(value)

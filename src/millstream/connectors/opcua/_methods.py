"""Methods as targets of writes: the value holds the arguments, the result the outputs (OPC 10000-4, 5.12.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from asyncua import ua

from millstream.connectors.opcua._address import Address, BrowsePath, parse_address
from millstream.connectors.opcua._config import TagOptions
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._mapping import WriteRefused, as_read, to_quality, to_variant
from millstream.model import BAD_NODE_ID_UNKNOWN, BAD_TYPE_MISMATCH, Value
from millstream.sdk import Tag, WriteResult

BuiltIn = Callable[[ua.NodeId], Awaitable[ua.VariantType | None]]
_INPUTS, _OUTPUTS = "InputArguments", "OutputArguments"


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

    async def call(self, tag: Tag, value: Value | None) -> WriteResult:
        """Call the method that the tag's address names; `answer` has its outputs by name. Raises only when the link is
        gone."""
        address = parse_address(tag.address)
        options = TagOptions.model_validate(dict(tag.options))
        try:
            (method,) = await self._link.resolve([address])
            if isinstance(method, int):
                return WriteResult(to_quality(method), status_name(method))
            owner = await self._owner(method, address, options)
            stated = await self._stated(method)
            arguments = [await self._argument(item) for item in stated[_INPUTS]]
            variants = self._variants(arguments, value)
        except WriteRefused as error:
            return WriteResult(error.quality, error.what)
        result = await self._link.call(owner, method, variants)
        code = int(result.StatusCode.value)
        reason = status_name(code) if code >> 30 else None
        for argument, status in zip(arguments, result.InputArgumentResults or (), strict=False):
            if int(status.value) >> 31:
                reason = f"{reason}: argument {argument.name!r} is {status_name(int(status.value))}"
        if code >> 31:
            return WriteResult(to_quality(code), reason)
        outputs = self._outputs(stated[_OUTPUTS], result.OutputArguments or ())
        return WriteResult(to_quality(code), reason, answer=outputs)

    def _outputs(self, stated: Sequence[ua.Argument], given: Sequence[ua.Variant]) -> Value:
        """By name; what the method gives beyond what it states is numbered, a null is left out."""
        names = [str(item.Name) for item in stated]
        names += [str(i + 1) for i in range(len(names), len(given))]
        values = [as_read(item, self._link.namespaces, self._link.structures) for item in given]
        return {name: value for name, value in zip(names, values, strict=False) if value is not None}

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

    async def _stated(self, method: ua.NodeId) -> dict[str, Sequence[ua.Argument]]:
        """What the server says of the method's inputs and outputs."""
        found = await self._references(method, ua.BrowseDirection.Forward, ua.ObjectIds.HasProperty)
        properties = [r for r in found if r.BrowseName.Name in (_INPUTS, _OUTPUTS)]
        values = await self._link.read_attributes([r.NodeId for r in properties], ua.AttributeIds.Value)
        stated: dict[str, Sequence[ua.Argument]] = {_INPUTS: (), _OUTPUTS: ()}
        for reference, value in zip(properties, values, strict=True):
            stated[reference.BrowseName.Name] = (value.Value.Value if value.Value is not None else None) or ()
        return stated

    async def _argument(self, stated: ua.Argument) -> _Argument:
        kind = await self._built_in(stated.DataType)
        if kind is None:
            raise WriteRefused(f"the type of argument {stated.Name!r} is not known")
        return _Argument(str(stated.Name), kind, stated.ValueRank >= 0)

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

    def _variants(self, arguments: Sequence[_Argument], value: Value | None) -> list[ua.Variant]:
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


def given_arguments(names: Sequence[str], value: Value | None) -> list[Value]:
    """The arguments in order: a mapping by name, a list in order, one value for the only one, true for none.

    Raises WriteRefused."""
    if value is None:
        raise WriteRefused("a method is not called with null: write true for no arguments")
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

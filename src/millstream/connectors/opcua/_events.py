"""Events, alarms and conditions (OPC 10000-4, 7.22.3; OPC 10000-9): what a notifier is asked for, what comes of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from asyncua import ua

from millstream.connectors.opcua._address import parse_address
from millstream.connectors.opcua._conditions import Conditions
from millstream.connectors.opcua._config import TagOptions
from millstream.connectors.opcua._link import Link
from millstream.kernel import DecodeError, Unreachable
from millstream.model import Event, Value
from millstream.protocols.cloudevents import parse_time_ns

EVENTS_PER_BATCH_MAX = 200
EVENTS_TOLD_MAX = 10_000  # whose ids are kept, to tell what comes twice; as many may come around the begin of a link
TYPE_NAMES_MAX = 10_000
_BASE = ("EventId", "EventType", "SourceNode", "SourceName", "Time", "Message", "Severity")
_CONDITION = (
    "ConditionName", "BranchId", "Retain", "EnabledState/Id", "ActiveState/Id", "AckedState/Id", "ConfirmedState/Id",
    "SuppressedState/Id", "ShelvingState/CurrentState", "LimitState/CurrentState", "Quality", "Comment",
)  # fmt: skip
CONDITION_ID = "ConditionId"  # the node id of the condition itself, which is an attribute of it
_REFRESH_START, _REFRESH_END, _REFRESH_REQUIRED = "i=2787", "i=2788", "i=2789"
_OVERFLOW = "i=3035"


def field_names(options: TagOptions, *, with_conditions: bool) -> tuple[str, ...]:
    """The fields that are asked for, in the order in which they come."""
    conditions = (CONDITION_ID, *_CONDITION) if with_conditions else ()
    return (*_BASE, *conditions, *options.event_fields)


def event_filter(options: TagOptions, kind_node: ua.NodeId | None, *, with_conditions: bool) -> ua.EventFilter:
    """Select the fields; let pass only what is of the wanted type and severe enough."""
    clauses = [_operand(name) for name in field_names(options, with_conditions=with_conditions)]
    wanted = []
    if options.severity_min > 1:
        severity = ua.LiteralOperand(ua.Variant(options.severity_min, ua.VariantType.UInt16))
        wanted.append(_element(ua.FilterOperator.GreaterThanOrEqual, [_operand("Severity"), severity]))
    if kind_node is not None:
        kind = ua.LiteralOperand(ua.Variant(kind_node))
        wanted.append(_element(ua.FilterOperator.OfType, [kind]))
    if len(wanted) == 2:
        both = _element(ua.FilterOperator.And, [ua.ElementOperand(1), ua.ElementOperand(2)])
        wanted.insert(0, both)
    return ua.EventFilter(clauses, ua.ContentFilter(wanted))


def _element(operator: ua.FilterOperator, operands: list[Any]) -> ua.ContentFilterElement:
    element = ua.ContentFilterElement()
    element.FilterOperator = operator
    element.FilterOperands = operands
    return element


def _operand(name: str) -> ua.SimpleAttributeOperand:
    operand = ua.SimpleAttributeOperand()
    operand.AttributeId = ua.AttributeIds.Value
    operand.TypeDefinitionId = ua.NodeId(ua.ObjectIds.BaseEventType)
    if name == CONDITION_ID:
        operand.TypeDefinitionId = ua.NodeId(ua.ObjectIds.ConditionType)
        operand.AttributeId = ua.AttributeIds.NodeId
        operand.BrowsePath = []
        return operand
    if name in _CONDITION:
        operand.TypeDefinitionId = ua.NodeId(_TYPE_OF.get(name, ua.ObjectIds.ConditionType))
    operand.BrowsePath = [_browse_name(part) for part in name.split("/")]
    return operand


_TYPE_OF = {
    "ActiveState/Id": ua.ObjectIds.AlarmConditionType,
    "SuppressedState/Id": ua.ObjectIds.AlarmConditionType,
    "ShelvingState/CurrentState": ua.ObjectIds.AlarmConditionType,
    "AckedState/Id": ua.ObjectIds.AcknowledgeableConditionType,
    "ConfirmedState/Id": ua.ObjectIds.AcknowledgeableConditionType,
    "LimitState/CurrentState": ua.ObjectIds.ExclusiveLimitAlarmType,
}


def _browse_name(text: str) -> ua.QualifiedName:
    index, colon, name = text.partition(":")
    return ua.QualifiedName(name, int(index)) if colon and index.isdigit() else ua.QualifiedName(text, 0)


class EventReader:
    """Makes events of notifications. Names of event types are asked of the server once each."""

    def __init__(self, link: Link, conditions: Conditions) -> None:
        self.needs_refresh = False
        self._link = link
        self._conditions = conditions
        self._waiting: deque[tuple[str, tuple[str, ...], list[Value | None], bool]] = deque()
        self._told: dict[tuple[str, str], bool] = {}  # tag and id of the newest events -> whether history had it
        self._names: dict[str, str] = {}
        self._refreshing: set[str] = set()  # tags; their server tells again what holds
        self._overflows: list[str] = []

    @property
    def is_waiting(self) -> bool:
        """Something was taken and not yet read."""
        return bool(self._waiting)

    def take(self, key: str, names: tuple[str, ...], fields: list[Value | None], *, is_past: bool = False) -> None:
        """One event for the tag `key`, whose fields are `names`. `is_past`: from the server's history."""
        self._waiting.append((key, names, fields, is_past))

    def know(self, key: str, ids: Iterable[str]) -> None:
        """These events of the tag `key` are stored already."""
        self._told |= dict.fromkeys(((key, event_id) for event_id in ids), True)

    def take_overflows(self) -> list[str]:
        """The tags of which the server said since the last call that it had to drop events, once for each time."""
        overflows, self._overflows = self._overflows, []
        return overflows

    async def read(self) -> list[Event]:
        """The events of what was taken, at most `EVENTS_PER_BATCH_MAX`."""
        part = [self._waiting.popleft() for _ in range(min(len(self._waiting), EVENTS_PER_BATCH_MAX))]
        found = [(key, dict(zip(names, fields, strict=False)), is_past) for key, names, fields, is_past in part]
        with suppress(Unreachable):  # an event without its type's name is still an event
            await self._learn_names({str(fields.get("EventType") or "") for _, fields, _ in found})
        events = ((self._event(key, fields), is_past) for key, fields, is_past in found)
        return [event for event, is_past in events if event is not None and self._is_new(event, is_past=is_past)]

    def _is_new(self, event: Event, *, is_past: bool) -> bool:
        """Around the begin of a link an event may be in the history and live. A refresh tells again on purpose."""
        name = event.tag, event.id
        was_past = self._told.pop(name, None)
        self._told[name] = is_past or was_past is True
        if len(self._told) > EVENTS_TOLD_MAX:
            del self._told[next(iter(self._told))]
        if "IsRefresh" in event.data:
            return True
        return was_past is None if is_past else was_past is not True

    async def _learn_names(self, types: set[str]) -> None:
        unknown = [kind for kind in types if kind and kind not in self._names]
        if not unknown:
            return
        if len(self._names) > TYPE_NAMES_MAX:
            self._names.clear()
        nodes = await self._link.resolve([parse_address(kind) for kind in unknown])
        known = [(kind, node) for kind, node in zip(unknown, nodes, strict=True) if not isinstance(node, int)]
        values = await self._link.read_attributes([node for _, node in known], ua.AttributeIds.BrowseName)
        for (kind, _), value in zip(known, values, strict=True):
            name = value.Value.Value if value.Value is not None else None
            self._names[kind] = str(name.Name) if isinstance(name, ua.QualifiedName) and name.Name else kind

    def _event(self, key: str, fields: Mapping[str, Value | None]) -> Event | None:
        kind = str(fields.get("EventType") or "")
        if kind in (_REFRESH_START, _REFRESH_END, _REFRESH_REQUIRED, _OVERFLOW):
            if kind == _REFRESH_START:
                self._refreshing.add(key)
            else:
                self._refreshing.discard(key)
            self.needs_refresh |= kind == _REFRESH_REQUIRED
            self._overflows += [key] if kind == _OVERFLOW else []
            return None
        data = {name: value for name, value in fields.items() if value is not None and name != "EventId"}
        is_condition = bool(data.get("ConditionName") or data.get(CONDITION_ID))
        if is_condition and key in self._refreshing:
            data["IsRefresh"] = True
        event_id = fields.get("EventId")
        if is_condition and isinstance(event_id, bytes):
            self._conditions.learn(key, event_id, str(data.get(CONDITION_ID) or ""))
        return Event(
            tag=key,
            type=f"opcua.{self._names.get(kind, kind or 'event')}",
            id=event_id.hex() if isinstance(event_id, bytes) and event_id else f"{fields.get('Time')!r} {kind}",
            source=self._link.where,
            data=data,
            time_ns=event_time_ns(fields),
            kind="alarm" if is_condition else "event",
        )


def event_time_ns(fields: Mapping[str, Value | None]) -> int | None:
    """When it happened, UTC ns; None when the server does not say."""
    try:
        time_ns = parse_time_ns(str(fields.get("Time")))
    except DecodeError:
        return None
    return time_ns if time_ns > 0 and time_ns < 2**63 else None

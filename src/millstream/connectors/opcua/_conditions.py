"""Conditions and alarms that a person acts on: acknowledged, confirmed, commented (OPC 10000-9, 5.5.6 and 5.7).

A tag of events may act on the conditions that it told of over this link, and on no others: whoever may write to it has
seen them, and the server tells them again after each connection as long as they want something.
"""

from __future__ import annotations

from asyncua import ua

from millstream.connectors.opcua._address import parse_address
from millstream.connectors.opcua._faults import status_name
from millstream.connectors.opcua._link import Link
from millstream.connectors.opcua._mapping import WriteRefused, to_quality
from millstream.model import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, Value
from millstream.sdk import Tag, WriteResult

EVENTS_KNOWN_MAX = 10_000  # newest events of conditions; older ones were followed by others or are told again
COMMENT_CHARS_MAX = 1_000
_METHODS = {
    "acknowledge": ua.ObjectIds.AcknowledgeableConditionType_Acknowledge,
    "confirm": ua.ObjectIds.AcknowledgeableConditionType_Confirm,
    "add_comment": ua.ObjectIds.ConditionType_AddComment,
}
_EXPECTED = 'expected {"acknowledge": "<id of the event>", "comment": "<text>"}, or confirm or add_comment'


class Conditions:
    """Which event of which condition was told, and the methods of a condition."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._known: dict[tuple[str, bytes], str] = {}  # tag and EventId -> ConditionId

    def learn(self, key: str, event_id: bytes, condition: str) -> None:
        """The tag `key` told of this."""
        self._known.pop((key, event_id), None)
        self._known[key, event_id] = condition
        if len(self._known) > EVENTS_KNOWN_MAX:
            del self._known[next(iter(self._known))]

    async def act(self, tag: Tag, value: Value | None) -> WriteResult:
        """Carry out what `value` says. Raises only when the link is gone."""
        try:
            method, event_id, comment = _wanted(value)
            condition = self._known.get((tag.key, event_id))
            if not condition:
                raise WriteRefused("the tag has told of no condition by an event with this id", BAD_OUT_OF_RANGE)
        except WriteRefused as error:
            return WriteResult(error.quality, error.what)
        (node,) = await self._link.resolve([parse_address(condition)])
        if isinstance(node, int):
            return WriteResult(to_quality(node), status_name(node))
        arguments = [
            ua.Variant(event_id, ua.VariantType.ByteString),
            ua.Variant(ua.LocalizedText(comment), ua.VariantType.LocalizedText),
        ]
        result = await self._link.call(node, ua.NodeId(method), arguments)
        code = int(result.StatusCode.value)
        if code >> 30:
            return WriteResult(to_quality(code), status_name(code))
        return WriteResult(to_quality(code), answer={})


def _wanted(value: Value | None) -> tuple[int, bytes, str]:
    """Method, id of the event, comment. Raises WriteRefused."""
    actions = [name for name in _METHODS if name in value] if isinstance(value, dict) else []
    if not isinstance(value, dict) or len(actions) != 1 or set(value) - {actions[0], "comment"}:
        raise WriteRefused(_EXPECTED, BAD_TYPE_MISMATCH)
    event, comment = value[actions[0]], value.get("comment", "")
    if not isinstance(event, str) or not isinstance(comment, str):
        raise WriteRefused(_EXPECTED, BAD_TYPE_MISMATCH)
    if len(comment) > COMMENT_CHARS_MAX:
        raise WriteRefused(f"expected at most {COMMENT_CHARS_MAX} characters of comment", BAD_OUT_OF_RANGE)
    try:
        return _METHODS[actions[0]], bytes.fromhex(event), comment
    except ValueError as error:
        raise WriteRefused(_EXPECTED, BAD_TYPE_MISMATCH) from error

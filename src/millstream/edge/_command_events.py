"""What becomes of a command, as the event that is stored at the edge's own place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from millstream.model import AssetPath
from millstream.protocols.audit import AUDIT_TYPE
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.command import EVENT_TYPE, RESULT_BYTES_MAX, Command
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.sdk import Message


def command_event(place: AssetPath, command: Command, what: str, time_ns: int, data: Mapping[str, Any]) -> Message:
    """``_event…millstream.command.<what>`` with the command's id, type and asker beside `data`."""
    whole = {"id": command.id, "type": command.type, "who": command.who, **data}
    if what in ("accepted", "requested"):
        whole["args"] = command.args
    whole = {name: value for name, value in whole.items() if value is not None}
    if "result" in whole and len(msgspec.json.encode(whole["result"])) > RESULT_BYTES_MAX:
        whole.pop("result")
        whole["reason"] = f"its result is larger than {RESULT_BYTES_MAX} bytes and is not told"
    kind = f"{EVENT_TYPE}.{what}"
    id = f"{command.id}/{what}" if what != "progress" else f"{command.id}/progress/{time_ns}"
    return event_message(place, kind, id, whole, time_ns, command.id)


def event_message(place: AssetPath, kind: str, id: str, data: Mapping[str, Any], time_ns: int, about: str) -> Message:
    """An event of the edge, as it is stored."""
    headers, payload = encode_event(CloudEvent(id, f"/{place}", kind, data, time_ns, about))
    extra = tuple((name, value) for name, value in headers.items() if name != "Content-Type")
    subject = encode_subject(UnsAddress(place, "_event", tuple(kind.split("."))))
    return Message(subject, payload, headers["Content-Type"], 0, extra)


def repeat_event(
    place: AssetPath, node: str, command: Command, state: str, reason: str | None, time_ns: int
) -> Message:  # fmt: skip
    """``_event…millstream.audit.command.repeated``: it came again when it was over, and nothing was done."""
    data = {
        "id": command.id, "type": command.type, "who": command.who, "node": node, "state": state, "reason": reason,
        "created_ns": command.created_ns, "expires_ns": command.expires_ns,
    }  # fmt: skip
    kind = f"{AUDIT_TYPE}.command.repeated"
    shown = {name: value for name, value in data.items() if value is not None}
    return event_message(place, kind, f"{command.id}/repeated/{time_ns}", shown, time_ns, command.id)


def stored_event(subject: str, event: CloudEvent) -> Message:
    """An event under a subject that is known, as it is stored."""
    headers, payload = encode_event(event)
    content_type = headers.pop("Content-Type", None)
    return Message(subject, payload, content_type, 0, tuple(headers.items()))

"""An event of a connector as the message that is stored: a CloudEvent beside the tag's samples. Pure."""

from __future__ import annotations

from millstream.kernel import DecodeError
from millstream.model import Event
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.uns_payload import to_json_form
from millstream.sdk import Message

_SAMPLES = "._tag."


def event_subject(subject: str, event: Event) -> str:
    """Where an event of the tag with this subject goes: `_event` or `_alarm` in the place of `_tag`."""
    return subject.replace(_SAMPLES, f"._{event.kind}.", 1)


def event_message(subject: str, event: Event, payload_bytes_max: int) -> Message:
    """The message of an event. Raises DecodeError when it cannot be one."""
    try:
        data = to_json_form(dict(event.data))
    except (TypeError, AttributeError, RecursionError) as error:
        raise DecodeError(f"event data is not JSON: {error}", code="MS-0381") from error
    headers, payload = encode_event(CloudEvent(event.id, event.source, event.type, data, event.time_ns))
    if len(payload) > payload_bytes_max:
        raise DecodeError(f"event of {len(payload)} bytes is larger than the server takes", code="MS-0308")
    content_type = headers.pop("Content-Type", None)
    return Message(subject, payload, content_type, 0, tuple(headers.items()))

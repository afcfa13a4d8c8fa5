"""What the audit says of a decision about a flow: paused, resumed, replayed, begun anew."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from millstream.bus import RawConnection, decode_answer
from millstream.kernel import Clock
from millstream.model import AssetPath
from millstream.protocols.audit import AUDIT_TYPE
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.ledger import WRITER_HEADER
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.worker._control import FlowControl

TellFlow = Callable[[str, Mapping[str, Any]], Awaitable[object]]
"""outcome, data"""
OUTCOMES = {"pause": "paused", "resume": "resumed", "replay": "replayed", "reset": "reset"}


def shown_control(control: FlowControl) -> dict[str, Any]:
    """How a flow stands, for the audit."""
    return {"version": control.version, "is_paused": control.is_paused, "start": control.start}


def flow_teller(connection: RawConnection, node: str, place: Callable[[], str], clock: Clock) -> TellFlow:
    """Stores the event at a place in the node's own stream."""

    async def tell(outcome: str, data: Mapping[str, Any]) -> None:
        """Raises Unreachable, and what the stream answers."""
        kind = f"{AUDIT_TYPE}.flow.{outcome}"
        event = CloudEvent(secrets.token_hex(12), f"/{node}", kind, dict(data), clock.now_ns())
        headers, payload = encode_event(event)
        headers |= {WRITER_HEADER: "flows", "Nats-Msg-Id": f"{node}/{event.id}"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        subject = encode_subject(UnsAddress(AssetPath.parse(place()), "_event", tuple(kind.split("."))))
        answer = await connection.request(subject, payload, header_lines=lines.encode())
        decode_answer(answer[4], where=subject)

    return tell

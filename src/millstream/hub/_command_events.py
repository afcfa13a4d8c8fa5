"""What the hub itself says of a command, kept beside what the edges say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millstream.bus import RawConnection, decode_answer
from millstream.model import AssetPath
from millstream.protocols.cloudevents import CloudEvent, encode_event
from millstream.protocols.command import EVENT_TYPE, Command
from millstream.protocols.ledger import WRITER_HEADER
from millstream.protocols.uns_subject import UnsAddress, encode_subject

NULLABLE = ("before", "after")  # there is a difference between none and not said


async def hub_event(
    connection: RawConnection, path: str, command: Command, what: str, time_ns: int, data: Mapping[str, Any],
    *, who: str | None = None,
) -> None:  # fmt: skip
    """Store one event at the place of the command's node; the same again within two minutes is stored once. Raises
    Unreachable, and what the stream answers."""
    place = AssetPath.parse(path)
    whole = {"id": command.id, "type": command.type, **data, "who": who or command.who}
    kind = f"{EVENT_TYPE}.{what}"
    event = CloudEvent(
        f"{command.id}/hub/{what}",
        "/hub",
        kind,
        {k: v for k, v in whole.items() if v is not None or k in NULLABLE},
        time_ns,
        command.id,
    )
    headers, payload = encode_event(event)
    headers |= {WRITER_HEADER: "hub", "Nats-Msg-Id": f"{path}/{event.id}"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    subject = encode_subject(UnsAddress(place, "_event", tuple(kind.split("."))))
    answer = await connection.request(subject, payload, header_lines=lines.encode())
    decode_answer(answer[4], where=subject)

"""Where in its inputs a flow without state begins."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.bus import StreamApi
from millstream.protocols.cloudevents import format_time, parse_time_ns


async def start_seqs(api: StreamApi, inputs: Sequence[str], start: str, filters: Sequence[str]) -> dict[str, int]:
    """The first sequence of each stream for "beginning", "now" or a time. Raises Unreachable, NotFoundError."""
    if start == "beginning":
        return {}
    found: dict[str, int] = {}
    for stream in inputs:
        state = await api.state(stream)
        found[stream] = state.last_seq + 1
        if start != "now":
            found[stream] = await _first_since(api, stream, parse_time_ns(start)) or found[stream]
    return found


async def _first_since(api: StreamApi, stream: str, time_ns: int) -> int | None:
    """The sequence of the first message stored at or after a time, by asking the server for a consumer that begins
    there."""
    name = f"ms_start_{time_ns}"
    config = {
        "name": name, "deliver_policy": "by_start_time", "opt_start_time": format_time(time_ns), "ack_policy": "none",
        "mem_storage": True, "num_replicas": 1, "inactive_threshold": 5_000_000_000,
    }  # fmt: skip
    body = {"stream_name": stream, "config": config, "action": ""}
    info = await api.request(f"CONSUMER.CREATE.{stream}.{name}", body)
    await api.request(f"CONSUMER.DELETE.{stream}.{name}")
    return int(info["delivered"]["stream_seq"]) + 1

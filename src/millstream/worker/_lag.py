"""How far a flow is behind: messages that it has still to read, and the age of the oldest of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millstream.bus import StreamApi
from millstream.flow import Offset, decode_commit
from millstream.kernel import NotFoundError


async def flow_lag(
    api: StreamApi,
    streams: tuple[Sequence[str], str],
    subjects: Mapping[int, str],
    filters: Sequence[str],
    taken: Mapping[int, Mapping[str, int]],
    now_ns: int,
) -> list[dict[str, Any]]:
    """Of each partition, from its newest state record, so also of one that does not run. `streams` are the inputs and
    the output, `subjects` the state records, `taken` what those that run have taken beyond. Raises Unreachable."""
    inputs, output = streams
    lags = []
    for partition, subject in sorted(subjects.items()):
        found = await api.last(output, subject)
        offsets = decode_commit(found.payload).offsets if found is not None else {}
        seqs = {s: max(offsets.get(s, Offset()).seq, taken.get(partition, {}).get(s, 0)) for s in inputs}
        behind = [await _stream_lag(api, s, seq + 1, filters, now_ns) for s, seq in seqs.items()]
        lags.append(
            {
                "partition": partition,
                "behind_messages": sum(b["messages"] for b in behind),
                "behind_s": max((b["seconds"] for b in behind), default=0.0),
                "committed_ns": found.stored_time_ns if found is not None else None,
                "inputs": {s: {"seq": seqs[s], **b} for s, b in zip(seqs, behind, strict=True)},
            }
        )
    return lags


async def _stream_lag(api: StreamApi, stream: str, seq: int, filters: Sequence[str], now_ns: int) -> dict[str, Any]:
    """By a consumer that would read the rest: the server counts what it has to give."""
    name = f"ms_lag_{now_ns}"
    config: dict[str, Any] = {
        "name": name, "deliver_policy": "by_start_sequence", "opt_start_seq": seq, "ack_policy": "none",
        "mem_storage": True, "num_replicas": 1, "inactive_threshold": 5_000_000_000,
    }  # fmt: skip
    if filters:
        config["filter_subjects"] = list(filters)
    try:
        info = await api.request(
            f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config, "action": ""}
        )
    except NotFoundError:
        return {"messages": 0, "seconds": 0.0}
    await api.request(f"CONSUMER.DELETE.{stream}.{name}")
    count = int(info["num_pending"])
    oldest = await _oldest(api, stream, seq, filters) if count else None
    return {"messages": count, "seconds": round(max(0, now_ns - oldest) / 1e9, 1) if oldest else 0.0}


async def _oldest(api: StreamApi, stream: str, seq: int, filters: Sequence[str]) -> int | None:
    found = [await api.next(stream, seq, each) for each in filters or (">",)]
    return min((each.stored_time_ns for each in found if each is not None), default=None)

"""The subjects of a flow's records, and how far its stream is needed."""

from __future__ import annotations

from collections.abc import Iterable

from millstream.bus import StreamApi
from millstream.flow import decode_commit
from millstream.model import AssetPath
from millstream.protocols.ledger import position_subject, record_subject


def flow_publisher(flow: str, version: int, partition: int) -> str:
    """The publisher's name in the ledger."""
    return f"flow-{flow}-{version}-{partition}"


def ledger_subject(place: AssetPath, node: str, flow: str, version: int, partition: int) -> str:
    """The ledger record of one partition, which fences it."""
    return record_subject(place, node, flow_publisher(flow, version, partition))


def state_subject(place: AssetPath, node: str, flow: str, version: int, partition: int) -> str:
    """The state record of one partition."""
    return position_subject(place, node, flow_publisher(flow, version, partition), "state")


async def floor_of(api: StreamApi, stream: str, subjects: Iterable[str]) -> int:
    """The first sequence of `stream` that one of these state records needs to be restored. Raises PlantError."""
    needed = (await api.state(stream)).last_seq + 1
    for subject in subjects:
        found = await api.last(stream, subject)
        if found is not None:
            needed = min(needed, decode_commit(found.payload).restore_seq or found.seq)
    return needed

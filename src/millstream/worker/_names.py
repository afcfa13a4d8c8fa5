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


async def is_born(api: StreamApi, stream: str, place: AssetPath, node: str, flow: tuple[str, int, int]) -> bool:
    """Whether every partition of a flow (name, version, partitions) has written its first record. Raises PlantError."""
    name, version, partitions = flow
    subjects = [state_subject(place, node, name, version, number) for number in range(partitions)]
    return all([await api.last(stream, subject) is not None for subject in subjects])


async def floor_of(api: StreamApi, stream: str, subjects: Iterable[str]) -> int:
    """The first sequence of `stream` that one of these state records needs to be restored. Raises PlantError."""
    needed = (await api.state(stream)).last_seq + 1
    for subject in subjects:
        found = await api.last(stream, subject)
        if found is not None:
            commit = decode_commit(found.payload)
            # Of a version that has ended nothing is restored: its last record says how far it came.
            needed = min(needed, found.seq if commit.successor else commit.restore_seq or found.seq)
    return needed

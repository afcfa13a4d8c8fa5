"""What of its streams a flow still needs: the records of its state, and inputs that it has not read."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.bus import StreamApi, StreamInfo
from millstream.flow import Commit, decode_commit


async def newest_commits(api: StreamApi, output: str, subjects: Sequence[str]) -> list[Commit]:
    """The newest state record of each partition that has one. Raises PlantError."""
    found = [await api.last(output, subject) for subject in subjects]
    return [decode_commit(record.payload) for record in found if record is not None]


async def is_state_lost(api: StreamApi, output: str, subjects: Sequence[str]) -> bool:
    """True when one of these state records is gone, or some of what its state is rebuilt from. Raises PlantError."""
    for subject in subjects:
        found = await api.last(output, subject)
        if found is None:
            return True
        commit = decode_commit(found.payload)
        first_seq = (await api.state(output)).first_seq
        if not commit.successor and (commit.restore_seq or found.seq) < first_seq:
            return True
    return False


async def unread_seq(
    api: StreamApi, stream: StreamInfo, commits: Sequence[Commit], filters: Sequence[str]
) -> int | None:
    """The first message of an input stream that a partition with one of these newest records has still to read; None
    when there is none. What does not match `filters` waits for nobody. Raises PlantError."""
    offsets = [commit.offsets.get(stream.name) for commit in commits if not commit.successor]
    if not offsets:
        return None
    after = min(offset.seq if offset is not None and offset.created == stream.created else 0 for offset in offsets)
    found = [await api.next(stream.name, after + 1, each) for each in filters or (">",)]
    return min((message.seq for message in found if message is not None), default=None)

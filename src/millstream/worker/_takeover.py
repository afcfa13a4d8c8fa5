"""Before a version of a flow begins: the one before it is ended, for good, and its end is known."""

from __future__ import annotations

import msgspec

from millstream.bus import FLOW_PREFIX, GroupCommitPublisher, RawConnection
from millstream.flow import Commit, decode_commit, encode_commit, muted_by
from millstream.kernel import Clock, FencedError
from millstream.model import AssetPath
from millstream.sdk import Control
from millstream.worker._names import ledger_subject, state_subject
from millstream.worker._spec import WorkerSpec

TRIES_MAX = 20  # against an instance that still commits; each try fences it


async def end_version(
    connection: RawConnection, spec: WorkerSpec, flow: str, before: tuple[int, int], successor: int, clock: Clock
) -> dict[str, int]:
    """Write the last record of each partition of `before` (version, partitions), unless it is there; what the version
    has said, for `Muting`. Safe to repeat, and by several at a time. Raises Unreachable."""
    version, partitions = before
    finals: dict[int, Commit] = {}
    for partition in range(partitions):
        finals[partition] = await _end(connection, spec, (flow, version, partition), successor, clock)
    return muted_by(finals)


async def _end(
    connection: RawConnection, spec: WorkerSpec, which: tuple[str, int, int], successor: int, clock: Clock
) -> Commit:
    place = AssetPath.parse(spec.place)
    subject = state_subject(place, spec.node, *which)
    for attempt in range(TRIES_MAX):
        try:
            async with GroupCommitPublisher(
                connection, spec.output, ledger_subject=ledger_subject(place, spec.node, *which),
                publish_prefix=FLOW_PREFIX, clock=clock,
            ) as publisher:  # fmt: skip
                newest = await publisher.last_control(subject)
                commit = decode_commit(newest) if newest is not None else Commit(1, 0, {}, 0, 0, [])
                if commit.successor:
                    return commit
                final = msgspec.structs.replace(commit, entries=[], number=commit.number + 1, successor=successor)
                await (await publisher.submit([], Control(subject, encode_commit(final))))
                return final
        except FencedError:
            if attempt == TRIES_MAX - 1:
                raise
    raise AssertionError("the last try raises")

"""The ports of a flow on a node's server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from millstream.bus import FLOW_PREFIX, GroupCommitPublisher, RawConnection, StreamApi, StreamReader, find_stream
from millstream.flow import Flow, Quarantine, StreamFacts, Wiring
from millstream.kernel import Clock, NotFoundError
from millstream.model import AssetPath
from millstream.protocols.contract import ContractBook
from millstream.sdk import Log
from millstream.worker._names import ledger_subject, state_subject
from millstream.worker._spec import WorkerSpec


class BusStreams:
    """`Streams` by JetStream's API."""

    def __init__(self, connection: RawConnection, *, patience_s: float = 0.0) -> None:
        self._api = StreamApi(connection, patience_s=patience_s)

    async def facts(self, stream: str) -> StreamFacts:
        """The stream now. Raises NotFoundError, Unreachable."""
        info = await find_stream(self._api, stream)
        if info is None:
            raise NotFoundError("no such stream", where=stream)
        max_bytes = int(info.config.get("max_bytes", -1))
        fill = info.bytes / max_bytes if max_bytes > 0 else 0.0
        return StreamFacts(info.created, info.first_seq, info.last_seq, fill)


class HubOrigins:
    """`Origins` by JetStream's API: a hub's streams may lose their newest messages with the server."""

    def __init__(self, connection: RawConnection) -> None:
        self._connection = connection
        self._api = StreamApi(connection)

    def resets(self) -> int:
        """Each login; a server that lives goes on with what it had."""
        return self._connection.connects

    async def stored_us(self, stream: str, seq: int) -> int | None:
        """See `Origins.stored_us`. Raises Unreachable."""
        found = await self._api.get(stream, seq)
        if found is not None:
            return found.stored_time_ns // 1000
        return 0 if (await self._api.state(stream)).first_seq > seq else None


def bus_wiring(
    spec: WorkerSpec, flow: Flow[Any], partitions: int, connection: RawConnection, quarantine: Quarantine, *,
    clock: Clock, log: Log, start_seqs: Mapping[str, int] | None = None, muted: Mapping[str, int] | None = None,
    contracts: Callable[[], ContractBook] | None = None, hot_bytes: int = 256 << 20,
    on_restored: Callable[[], Awaitable[None]] | None = None,
) -> Wiring:  # fmt: skip
    """Everything that `FlowRunner` needs."""
    place = AssetPath.parse(spec.place)

    def open_publisher(partition: int) -> GroupCommitPublisher:
        subject = ledger_subject(place, spec.node, flow.name, flow.version, partition)
        return GroupCommitPublisher(
            connection, spec.output, ledger_subject=subject, publish_prefix=FLOW_PREFIX, clock=clock
        )

    return Wiring(
        inputs=spec.inputs,
        output=spec.output,
        control_subject={
            number: state_subject(place, spec.node, flow.name, flow.version, number) for number in range(partitions)
        },
        open_publisher=open_publisher,
        reader=StreamReader(connection),
        streams=BusStreams(connection),
        quarantine=quarantine,
        clock=clock,
        log=log,
        scratch=Path(spec.scratch),
        hot_bytes=hot_bytes,
        start_seqs=start_seqs,
        muted=muted,
        origins=HubOrigins(connection) if spec.has_origins else None,
        contracts=contracts,
        on_restored=on_restored,
    )

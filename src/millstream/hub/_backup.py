"""A hub as a folder of files, and a hub from such a folder; with a proof that nothing is missing.

Streams are taken one after the other while the hub works: first those that take from others, then those that they take
from. So what comes in meanwhile is in the origin's copy at least, and is taken again from there after a restore; the
other way round new messages would get numbers that the taking stream has seen already, and be lost.

The proof is made from the copy, not from the hub: each snapshot is given to a server of its own beside the backup, and
what that server then holds is counted, digested and recounted by the ledger. A restore compares with that.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import millstream
from millstream.bus import (
    HUB_DLQ,
    HUB_INTEGRITY,
    HUB_THROUGHPUT,
    NatsServer,
    RawConnection,
    ServerSettings,
    SnapshotHead,
    StreamApi,
    StreamReader,
    delete_stream,
    ensure_stream,
    find_stream,
    give_snapshot,
    list_streams,
    take_snapshot,
)
from millstream.hub._backup_history import shown, take_history
from millstream.hub._backup_manifest import (
    FORMAT,
    Manifest,
    StreamEntry,
    StreamProof,
    load_manifest,
    save_manifest,
)
from millstream.hub._ledger import OriginFeeder, accounts_as_dict
from millstream.kernel import Clock, PlantError
from millstream.protocols.cloudevents import format_time
from millstream.protocols.ledger import LedgerVerifier

TAKING = (HUB_INTEGRITY, HUB_THROUGHPUT, HUB_DLQ)
"""Streams that take from others: first in each order."""
SKIPPED = ("KV_cluster", "P_BEGUN")  # who leads is no data, and who is on the way to log in begins again
WAIT_S = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class HistoryAsk:
    """That the history is wanted too: `who` asks, for the event that tells; `before` is an earlier backup, whose files
    need not be sent again."""

    who: str
    before: Path | None = None


def in_order(streams: Sequence[str]) -> list[str]:
    """Those that take from others first."""
    kept = [name for name in streams if name not in SKIPPED and not name.startswith("$MQTT")]
    return [name for name in TAKING if name in kept] + sorted(name for name in kept if name not in TAKING)


async def back_up(
    connection: RawConnection, folder: Path, *, hub: str, clock: Clock, say: Say, history: HistoryAsk | None = None
) -> Manifest:
    """Write all streams of the hub below `folder`, which is empty or not there yet, and with `history` that before.
    Raises PlantError; then the folder is no backup."""
    if folder.exists() and any(folder.iterdir()):
        raise PlantError(
            "the folder is not empty", where=str(folder), next_step="give a folder that does not exist", code="MS-2620"
        )
    (folder / "streams").mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = None
    if history is not None:  # first: the streams then reach at least as far as it does
        kept = await take_history(connection, folder, hub=hub, who=history.who, before=history.before)
        say(f"history: {shown(kept.proof)}" if kept is not None else "history: this hub has none")
    names = in_order(await list_streams(StreamApi(connection)))
    entries = []
    with TemporaryDirectory(dir=folder, prefix="proof-") as scratch:
        settings = ServerSettings("proof", domain="proof")
        async with NatsServer(settings, Path(scratch), clock=clock) as server, server.connect("proof") as prover:
            for name in names:
                entries.append(await _back_up_stream(connection, prover, folder, name))
                say(f"{name}: {entries[-1].proof.messages} messages, {entries[-1].bytes} bytes")
    made = format_time(clock.now_ns())
    manifest = Manifest(FORMAT, hub, millstream.__version__, made, tuple(entries), history=kept)
    await asyncio.to_thread(save_manifest, folder, manifest)
    return manifest


async def _back_up_stream(connection: RawConnection, prover: RawConnection, folder: Path, name: str) -> StreamEntry:
    head: list[SnapshotHead] = []
    file = f"streams/{name}.snapshot"
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(folder / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        async with aclosing(take_snapshot(connection, name, head)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(output.write, chunk)
                digest.update(chunk)
                size += len(chunk)
        await asyncio.to_thread(_sync, output.fileno())
    config, state = dict(head[0].config), dict(head[0].state)
    alone = {key: value for key, value in config.items() if key not in ("sources", "mirror", "republish")}
    await give_snapshot(prover, name, SnapshotHead(alone, state), _chunks_of(folder / file))
    proof = await prove(prover, name)
    await delete_stream(StreamApi(prover), name)
    return StreamEntry(name, file, size, digest.hexdigest(), config, state, proof)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


async def _chunks_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 128 * 1024):
            yield chunk


async def prove(connection: RawConnection, stream: str) -> StreamProof:
    """Read all that the stream holds now. Raises PlantError."""
    state = await StreamApi(connection).state(stream)
    digest, count = hashlib.sha256(), 0
    verifier = LedgerVerifier()
    feeder = OriginFeeder(verifier, stream)
    if state.messages:
        async with aclosing(StreamReader(connection).read(stream, start_seq=state.first_seq, wait_s=WAIT_S)) as batches:
            async for messages in batches:
                for message in messages:
                    if message.seq > state.last_seq:
                        break
                    for part in (str(message.seq).encode(), message.subject.encode(), message.headers or b""):
                        digest.update(len(part).to_bytes(4, "big") + part)
                    digest.update(len(message.payload).to_bytes(4, "big") + message.payload)
                    count += 1
                    if stream in TAKING:
                        feeder.feed(message)
                if messages and messages[-1].seq >= state.last_seq:
                    break
    accounts = accounts_as_dict(verifier.accounts)
    return StreamProof(count, state.first_seq, state.last_seq, digest.hexdigest(), accounts)


async def restore(connection: RawConnection, folder: Path, *, is_replacing: bool = False, say: Say) -> Manifest:
    """Make the streams of a backup at a server without work, and prove each. Raises PlantError: MS-2620 for a backup
    that is not whole, MS-2621 for a hub that holds something (without `is_replacing`), MS-2622 when what is there
    afterwards is not what was backed up."""
    manifest = await asyncio.to_thread(load_manifest, folder)
    api = StreamApi(connection)
    names = [name for name in await list_streams(api) if name not in SKIPPED]
    held = {name: info for name in names if (info := await find_stream(api, name)) is not None}
    full = sorted(name for name, info in held.items() if info.messages)
    if full and not is_replacing:
        raise PlantError(
            "the hub is not empty", where=", ".join(full[:5]), expected="a hub without messages",
            next_step="give it another data_dir, or say --replace: what it holds is deleted then", code="MS-2621",
        )  # fmt: skip
    for name in held:
        await delete_stream(api, name)
    for entry in manifest.streams:
        config = {key: value for key, value in entry.config.items() if key != "sources"}
        head, chunks = SnapshotHead(config, entry.state), _chunks_of(folder / entry.file)
        await give_snapshot(connection, entry.name, head, chunks)
        proof = await prove(connection, entry.name)
        if proof != entry.proof:
            raise PlantError(
                "what was restored is not what was backed up", where=entry.name, expected=_shown(entry.proof),
                got=_shown(proof), next_step="restore again, into an empty folder, from another backup", code="MS-2622",
            )  # fmt: skip
        say(f"{entry.name}: {proof.messages} messages, as backed up")
    for entry in manifest.streams:
        if entry.config.get("sources"):
            await ensure_stream(api, {**entry.config, "sources": [_resumed(s, entry) for s in entry.config["sources"]]})
    return manifest


def _resumed(source: Mapping[str, Any], entry: StreamEntry) -> dict[str, Any]:
    """A source of the hub's own goes on behind what the stream holds of it. nats-server 2.15 takes the restored one for
    another than it was, and would read it from its beginning; those at edges are what they were."""
    account = entry.proof.accounts.get(source["name"])
    if source.get("external") or account is None:
        return dict(source)
    return {**source, "opt_start_seq": int(account["last_seq"]) + 1}


def _shown(proof: StreamProof) -> str:
    return f"{proof.messages} messages, {proof.first_seq} to {proof.last_seq}, {proof.digest[:16]}"

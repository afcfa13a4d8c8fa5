"""The history's database in a backup: asked of the hub that owns it, piece by piece, and put back where no hub runs.

It is taken before the streams. So each stream reaches at least as far as the history does, and a restored hub reads on
from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from millstream.bus import HUB_INTEGRITY, HUB_THROUGHPUT, NobodyAnswers, RawConnection, StreamApi, find_stream
from millstream.historian import HistoryProof, move_positions, parse_created_ns, prove_history
from millstream.hub._backup_manifest import HISTORY, FileEntry, HistoryEntry, Manifest, file_sha256
from millstream.kernel import Clock, PlantError, Unreachable
from millstream.protocols.history_job import (
    CopiedFile,
    CopyAnswer,
    CopyBegin,
    CopyEnd,
    CopyPart,
    Job,
    encode_job,
    job_subject,
)
from millstream.protocols.nats_wire import parse_headers

COPY_S_MAX = 3600.0  # a hub copies and counts tens of gigabytes before it answers
PART_S_MAX = 60.0
LEAD_S_MAX = 60.0


async def take_history(
    connection: RawConnection, folder: Path, *, hub: str, who: str, before: Path | None = None
) -> HistoryEntry | None:
    """Write the hub's history below `folder`; None for a hub without one. Files that are the same in the backup at
    `before` get a second name instead of being sent again. Raises PlantError."""
    subject = job_subject(hub)
    try:
        copy = msgspec.json.decode(await _ask(connection, subject, CopyBegin(who), COPY_S_MAX), type=CopyAnswer)
    except NobodyAnswers:
        return None
    try:
        entries = []
        for file in copy.files:
            entry = FileEntry(f"{HISTORY}/{file.name}", file.bytes, file.sha256)
            path = folder / entry.file
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if before is None or not await asyncio.to_thread(_is_linked, before / entry.file, path, entry):
                await _take_file(connection, subject, copy.id, file, path)
            entries.append(entry)
    finally:
        await _ask(connection, subject, CopyEnd(copy.id), PART_S_MAX)
    return HistoryEntry(tuple(entries), msgspec.convert(copy.proof, HistoryProof))


def _is_linked(source: Path, target: Path, entry: FileEntry) -> bool:
    try:
        if source.stat().st_size != entry.bytes or file_sha256(source) != entry.sha256:
            return False
        os.link(source, target)
    except OSError:  # not there, or on another disk
        return False
    return True


async def _take_file(connection: RawConnection, subject: str, id: str, file: CopiedFile, path: Path) -> None:
    digest, offset = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        while part := await _ask(connection, subject, CopyPart(id, file.name, offset), PART_S_MAX):
            await asyncio.to_thread(output.write, part)
            digest.update(part)
            offset += len(part)
        await asyncio.to_thread(os.fsync, output.fileno())
    if (offset, digest.hexdigest()) != (file.bytes, file.sha256):
        raise PlantError(
            "a file of the history came in another way than it was", where=file.name, expected=f"{file.bytes} bytes",
            got=f"{offset} bytes", next_step="begin the backup again", code="MS-2622",
        )  # fmt: skip


async def _ask(connection: RawConnection, subject: str, job: Job, timeout_s: float) -> bytes:
    """The answer's payload. Raises what the hub says."""
    answer = await connection.request(subject, encode_job(job), timeout_s=timeout_s)
    headers = parse_headers(answer[3]).values if answer[3] is not None else {}
    if (error := headers.get("Ms-Error")) is not None:
        told = msgspec.json.decode(error, type=dict[str, object])
        raise PlantError(str(told.get("message", error)), where=subject, code=str(told.get("code", "MS-0420")))
    return bytes(answer[4])


async def give_history(
    manifest: Manifest, folder: Path, target: Path, made: Mapping[str, int], *, is_replacing: bool
) -> HistoryProof | None:
    """Put the history of a backup into `target`, the folder of a hub that does not run and whose streams are restored
    already, at the times `made`, and count what it holds there; None when the backup has none. Raises PlantError:
    MS-2621 for a folder that holds one, MS-2622 when it is not what was backed up."""
    if manifest.history is None:
        return None
    proof = await asyncio.to_thread(_give, manifest.history, folder, target, is_replacing=is_replacing)
    await asyncio.to_thread(move_positions, target, made)
    return proof


async def times_made(connection: RawConnection) -> dict[str, int]:
    """When the streams that the history reads were made (UTC ns), by which it knows them. Raises PlantError.

    A server that has just made a stream of several replicas from a snapshot gives another time than all of them do from
    its next start on; so another one of them is asked."""
    api, made = StreamApi(connection), {}
    for name in (HUB_INTEGRITY, HUB_THROUGHPUT):
        info = await find_stream(api, name)
        if info is not None:
            made[name] = parse_created_ns(info.created)
    return made


async def hand_over_leads(connection: RawConnection, clock: Clock) -> None:
    """Let other replicas lead the streams that the history reads than those that lead now. Raises Unreachable."""
    api = StreamApi(connection)
    for name in (HUB_INTEGRITY, HUB_THROUGHPUT):
        if await find_stream(api, name) is None:
            continue
        maker, until_ns = await _leader(api, name), clock.monotonic_ns() + int(LEAD_S_MAX * 1e9)
        while await _leader(api, name) in (maker, None):
            if clock.monotonic_ns() > until_ns:
                raise Unreachable("no other replica leads", where=name, next_step="look whether all boxes run")
            with contextlib.suppress(PlantError):  # an election is under way
                await api.request(f"STREAM.LEADER.STEPDOWN.{name}")
            await clock.sleep(0.5)


async def _leader(api: StreamApi, name: str) -> str | None:
    try:
        leader = (await api.request(f"STREAM.INFO.{name}")).get("cluster", {}).get("leader")
    except PlantError:
        return None
    return None if leader is None else str(leader)


def _give(entry: HistoryEntry, folder: Path, target: Path, *, is_replacing: bool) -> HistoryProof:
    if target.exists() and any(target.iterdir()):
        if not is_replacing:
            raise PlantError(
                "the hub is not empty", where=str(target), expected="a folder without a history",
                next_step="give it another data_dir, or say --replace: what it holds is deleted then", code="MS-2621",
            )  # fmt: skip
        shutil.rmtree(target)
    for file in entry.files:
        path = target / Path(file.file).relative_to(HISTORY)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file.file, path)
    proof = prove_history(target)
    if proof != entry.proof:
        raise PlantError(
            "what was restored is not what was backed up", where=str(target), expected=shown(entry.proof),
            got=shown(proof), next_step="restore again, into an empty folder, from another backup", code="MS-2622",
        )  # fmt: skip
    return proof


def shown(proof: HistoryProof) -> str:
    """For people."""
    rows = proof.tables.get("readings", 0) + proof.sealed_rows
    return f"{rows} samples, {proof.tables.get('events', 0)} events, {proof.tables.get('tags', 0)} tags"

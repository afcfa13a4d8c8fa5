"""Becoming the edge of a site: one question to the hub, over the port that all else will go through, too.

What happens if it is killed here? The key is stored before the question, so asking again with the same join file gives
the same answer; the join file opens the door for this box's key only, from its first use on.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from millstream.bus import JOINING, LeafRemote, NatsServer, RawConnection, ServerSettings, join_subject, write_private
from millstream.edge._trust import PIN_FILE
from millstream.edge._uplink import Refusals
from millstream.kernel import AuthError, Clock, PlantError, SystemClock, Unreachable
from millstream.protocols.nats_jwt import KeyPair, format_creds, parse_creds, read_token
from millstream.protocols.trust_chain import Pin
from millstream.sdk import TlsFiles
from millstream.trust import JoinAnswer, JoinFile, make_request, new_key

PATIENCE_S = 30.0
KEY_FILE, CREDS_FILE, CA_FILE = "uplink.key", "uplink.creds", "uplink.ca"


@dataclass(frozen=True, slots=True)
class JoinedEdge:
    """The new edge: its key, the file that lets its server into the hub, and the file with the authorities by which it
    knows the hub (None: the system's, or a hub without TLS)."""

    public: str
    creds_file: Path
    ca_file: Path | None = None


async def join_hub(
    file: JoinFile, data_dir: Path, *, clock: Clock | None = None, patience_s: float = PATIENCE_S
) -> JoinedEdge:
    """Ask the hub in `file` to let this box in, and keep what it gives below ``data_dir/secrets``. Raises AuthError
    when the hub refuses the file, Unreachable when it does not answer."""
    clock = clock or SystemClock()
    secrets = data_dir / "secrets"
    await asyncio.to_thread(secrets.mkdir, parents=True, exist_ok=True, mode=0o700)
    key = await asyncio.to_thread(_own_key, secrets / KEY_FILE)
    folder = data_dir / "joining"
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        creds = folder / "join.creds"
        write_private(creds, file.creds)
        answer = await _ask(file, key, folder, creds, clock, patience_s)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    token = _checked(answer, file, key)
    path, ca_file = secrets / CREDS_FILE, None
    if file.certificate is not None:  # who answered is known by it; so what it says of its authorities counts
        ca_file = secrets / CA_FILE
        write_private(ca_file, answer.certificate or file.certificate)
    if file.people_public is not None:
        pin = Pin(
            tenant=file.tenant, site=file.site, operator_public=file.operator_public, plant_public=file.plant_public,
            people_public=file.people_public,
        )  # fmt: skip
        write_private(secrets / PIN_FILE, msgspec.json.encode(pin).decode())
    write_private(path, format_creds(token, key.seed))
    return JoinedEdge(key.public, path, ca_file)


def _own_key(path: Path) -> KeyPair:
    """This box's key, made the first time."""
    try:
        return KeyPair(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        key = new_key("user")
        write_private(path, key.seed + "\n")
        return key


async def _ask(file: JoinFile, key: KeyPair, folder: Path, creds: Path, clock: Clock, patience_s: float) -> JoinAnswer:
    """By a server of its own, which dials the hub as the edge's will."""
    bearer = parse_creds(file.creds, where="the join file")[1].public
    tls = None
    if file.certificate is not None:
        tls = TlsFiles(ca_file=folder / CA_FILE)
        write_private(folder / CA_FILE, file.certificate)
    elif urlsplit(file.hub_url).scheme in ("tls", "wss"):
        tls = TlsFiles()
    remote = LeafRemote(file.hub_url, file.site, creds_file=str(creds), tls=tls, more_urls=tuple(file.more_urls))
    settings = ServerSettings(f"{JOINING}{file.site}", leaf_remote=remote)
    async with NatsServer(settings, folder / "node", clock=clock) as server, server.connect("join") as connection:
        return await _ask_until(
            server, connection, join_subject(file.site, bearer), make_request(key, file.site, bearer), clock, patience_s
        )


async def _ask_until(
    server: NatsServer, connection: RawConnection, subject: str, request: bytes, clock: Clock, patience_s: float
) -> JoinAnswer:
    refusals = Refusals()
    deadline_ns = clock.monotonic_ns() + int(patience_s * 1e9)
    reason, remote = "", server.settings.leaf_remote
    while clock.monotonic_ns() < deadline_ns:
        try:
            message = await connection.request(subject, request, timeout_s=5.0)
            return msgspec.json.decode(message[4], type=JoinAnswer)
        except msgspec.DecodeError as error:
            raise PlantError("the hub's answer is no answer", got=str(error).lower(), code="MS-2107") from error
        except Unreachable as error:
            reason = str(error)
        refusals.feed(server.take_log_lines(), clock.monotonic_ns())
        if refusals.is_leaf_refused:
            raise AuthError(
                "the hub does not open for this join file", where=server.settings.name, code="MS-2107",
                next_step="it has expired, or was locked out: ask for a new one (`millstream site add`)",
            )  # fmt: skip
        if refusals.tls_problem is not None:
            raise AuthError(
                "this is not taken for the hub", where=remote.url if remote is not None else None,
                got=refusals.tls_problem, code="MS-2509",
                next_step="nothing was said to it; compare the address, the clocks and the authority in the join file",
            )  # fmt: skip
        with contextlib.suppress(TimeoutError):
            await clock.sleep(0.2)
    raise Unreachable(
        "the hub does not answer", where=remote.url if remote is not None else None, got=reason,
        next_step="check the address in the join file, the network and the firewall; nothing else is needed from here",
    )  # fmt: skip


def _checked(answer: JoinAnswer, file: JoinFile, key: KeyPair) -> str:
    if answer.token is None:
        error = answer.error or {}
        raise AuthError(
            str(error.get("message") or "the hub refused"), where=error.get("where"), got=error.get("got"),
            next_step=error.get("hint"), code=str(error.get("code") or "MS-2107"),
        )  # fmt: skip
    token = read_token(answer.token)
    if token.subject != key.public or token.tag("site") != file.site or token.account != file.plant_public:
        raise AuthError("the hub's answer is for another box", expected=key.public, got=token.subject, code="MS-2107")
    return answer.token

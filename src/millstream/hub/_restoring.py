"""A hub from its backup, whatever it is: one box or several, one plant or many tenants.

Of several boxes each runs this with the same backup. One of them makes the streams, on all of them; each takes the
history into its own folder; and none goes before all have done their part, so that there is a majority all the time.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from millstream.bus import (
    CLUSTER_BUCKET,
    CLUSTER_PREFIX,
    Credentials,
    Lease,
    NatsServer,
    RawConnection,
    ServerTrust,
    StreamApi,
    decode_answer,
)
from millstream.config import ClusterConfig, HubConfig
from millstream.historian import check_empty, fill_server
from millstream.hub._accounts import Accounts
from millstream.hub._backup import Say, restore
from millstream.hub._backup_history import give_history, hand_over_leads, shown, times_made
from millstream.hub._backup_manifest import Manifest, load_manifest
from millstream.hub._backup_tenants import PROVIDER_PART
from millstream.hub._node import server_settings
from millstream.hub._plant import history_server
from millstream.hub._standing_history import history_dir
from millstream.hub._trust import TrustFile
from millstream.kernel import Clock, ConfigError, PlantError

LEASE = "restore"
OTHERS_S_MAX = 3600.0  # the streams of a large hub take their time
SILENT_S_MAX = 60.0  # without a majority; then the others have gone
LINGER_S = 2.0
LOOK_INTERVAL_S = 0.2
STREAMS = "streams"


@dataclass(frozen=True, slots=True)
class _Part:
    """One account to be restored: `tenant` None for the one plant of a hub without tenants."""

    manifest: Manifest
    folder: Path
    login: Credentials | None
    tenant: str | None
    has_history: bool

    @property
    def name(self) -> str:
        """Of the account, for people."""
        return self.tenant or (PROVIDER_PART if self.login is not None else "")


class Done(msgspec.Struct, frozen=True):
    """Of which backup a member has done its part, or all streams are there: with the times that they were made, for
    each account."""

    made: str
    times: dict[str, dict[str, int]] = {}


async def restore_hub(config: HubConfig, folder: Path, *, is_replacing: bool, say: Say, clock: Clock) -> Manifest:
    """Make the hub of `config`, which does not run, from the backup in `folder`. Raises PlantError."""
    if config.server.url is not None:
        raise ConfigError(
            "this hub cannot be restored by one command", where="server.url", expected="a server of the hub's own"
        )
    manifest = await asyncio.to_thread(load_manifest, folder)
    if bool(manifest.parts) != (config.trust is not None):
        kinds = ("a hub with tenants", "a hub without tenants")
        raise ConfigError(
            "this is the backup of another kind of hub", where=str(folder),
            expected=kinds[config.trust is None], got=kinds[not manifest.parts],
        )  # fmt: skip
    data_dir = Path(config.hub.data_dir)
    await asyncio.to_thread(data_dir.mkdir, parents=True, exist_ok=True)
    settings = replace(server_settings(config), leaf_listener=None, mqtt_port=None, websocket_port=None, port=0)
    logins: Mapping[str, Credentials] = {}
    if config.trust is not None:
        file = TrustFile(Path(config.trust.file), data_dir, clock, lambda _: None, is_shared=True)
        file.load()
        resolver = data_dir.absolute() / "server" / "accounts"
        Accounts(resolver, lambda: file.trust, settings.name).store()
        trust = file.trust
        server_trust = ServerTrust(trust.operator_token, trust.system_public, trust.system_token, str(resolver))
        settings = replace(settings, trust=server_trust)
        logins = {n: Credentials(creds_file=file.creds_file(n)) for n in (PROVIDER_PART, *trust.tenants)}
    parts = _parts(manifest, folder, logins)
    async with NatsServer(settings, data_dir, clock=clock) as server:
        if config.cluster is None:
            await _check_history(config, parts)
            times = {part.name: await _streams(server, part, is_replacing=is_replacing, say=say) for part in parts}
            for part in parts:
                await _history(config, part, times[part.name], is_replacing=is_replacing, say=say)
        else:
            together = _Together(config.cluster, server, parts[0].login, manifest.made, clock)
            async with together.turn() as times:
                is_maker = not times
                if is_maker:
                    await _check_history(config, parts)
                for part in parts if is_maker else ():
                    times[part.name] = await _streams(server, part, is_replacing=is_replacing, say=say, clock=clock)
            if is_maker or history_server(config) is None:  # a server takes it once
                for part in parts:
                    await _history(config, part, times[part.name], is_replacing=is_replacing, say=say)
            await together.leave(say)
    return manifest


def _parts(manifest: Manifest, folder: Path, logins: Mapping[str, Credentials]) -> list[_Part]:
    """What is to be restored where; who runs the hub comes first. Raises ConfigError for a tenant who is not known."""
    if not manifest.parts:
        return [_Part(manifest, folder, None, None, has_history=True)]
    strangers = [part.name for part in manifest.parts if part.name not in logins]
    if strangers:
        raise ConfigError(
            "the operator does not know a tenant of this backup", got=", ".join(strangers),
            next_step="add the tenant, or take the hub.trust of the hub that was backed up", code="MS-2111",
        )  # fmt: skip
    return [
        _Part(
            load_manifest(folder / part.folder, is_checked=False), folder / part.folder, logins[part.name],
            part.name if part.is_tenant else None, has_history=part.is_tenant,
        )
        for part in sorted(manifest.parts, key=lambda part: (part.is_tenant, part.name))
    ]  # fmt: skip


@asynccontextmanager
async def _connected(server: NatsServer, login: Credentials | None) -> AsyncIterator[RawConnection]:
    async with server.connection("restore", login) as connection:
        yield connection


async def _streams(
    server: NatsServer, part: _Part, *, is_replacing: bool, say: Say, clock: Clock | None = None
) -> dict[str, int]:
    """Make those of one account, at a hub of several boxes with `clock`; the times by which the history knows them."""
    if part.name:
        say(f"-- {part.name}")
    async with _connected(server, part.login) as connection:
        await restore(connection, part.folder, is_replacing=is_replacing, say=say)
        if clock is not None:
            await hand_over_leads(connection, clock)
        return await times_made(connection)


async def _check_history(config: HubConfig, parts: Sequence[_Part]) -> None:
    """Before anything is changed. Raises PlantError (MS-2621) when a server that is to take a history holds one."""
    for part in parts:
        server = history_server(config, part.tenant)
        if part.has_history and server is not None and part.manifest.history is not None:
            await asyncio.to_thread(check_empty, server)


async def _history(config: HubConfig, part: _Part, times: Mapping[str, int], *, is_replacing: bool, say: Say) -> None:
    if not part.has_history or config.historian is None:
        return
    kept, server = history_dir(config, part.tenant), history_server(config, part.tenant)
    proof = await give_history(part.manifest, part.folder, kept, times, is_replacing=is_replacing)
    of = "" if part.tenant is None else f" of {part.tenant}"
    if server is not None and proof is not None:
        say(f"history{of}: {await asyncio.to_thread(fill_server, server, kept)} samples into {server.place}")
        await asyncio.to_thread(shutil.rmtree, kept)
    say(f"history{of}: {shown(proof)}, as backed up" if proof is not None else f"history{of}: not in this backup")


class _Together:
    """The boxes of one hub that restore it."""

    def __init__(
        self, cluster: ClusterConfig, server: NatsServer, login: Credentials | None, made: str, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._server = server
        self._login = login
        self._made = made
        self._clock = clock

    def _subject(self, member: str) -> str:
        return f"{CLUSTER_PREFIX}restored.{member}"

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[dict[str, dict[str, int]]]:
        """The times at which the streams of each account were made; nothing at the box that is to make them, and to say
        when. Another enters only when they are made. Raises LostLeaseError when another may have begun as well."""
        async with _connected(self._server, self._login) as connection:
            lease = Lease(connection, LEASE, self._cluster.member, self._clock)
            await lease.wait()
            keeping = asyncio.ensure_future(lease.keep())
            try:
                found = await self._done(connection, STREAMS)
                times = {} if found is None else found.times
                yield times
                if keeping.done():
                    keeping.result()
                if found is None:
                    await self._say_done(connection, STREAMS, times)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await lease.release()

    async def leave(self, say: Say) -> None:
        """Return once each box has done its part: till then it is needed for a majority. Who is not there in time is
        told."""
        async with _connected(self._server, self._login) as connection:
            await self._say_done(connection, self._cluster.member)
            say("this box is restored; it waits for the others")
            begun_ns = heard_ns = self._clock.monotonic_ns()
            while self._clock.monotonic_ns() - begun_ns < OTHERS_S_MAX * 1e9:
                try:
                    if await self._are_all_done(connection):
                        await self._clock.sleep(LINGER_S)  # the others are to see it, too
                        return
                    heard_ns = self._clock.monotonic_ns()
                except PlantError:
                    if self._clock.monotonic_ns() - heard_ns > SILENT_S_MAX * 1e9:
                        break
                await self._clock.sleep(LOOK_INTERVAL_S)
            say("not all of the others could be waited for: look at what they said")

    async def _are_all_done(self, connection: RawConnection) -> bool:
        return all([await self._done(connection, member) is not None for member in self._cluster.members])

    async def _done(self, connection: RawConnection, what: str) -> Done | None:
        found = await StreamApi(connection).last(CLUSTER_BUCKET, self._subject(what))
        if found is None:
            return None
        done = msgspec.json.decode(found.payload, type=Done)
        return done if done.made == self._made else None

    async def _say_done(
        self, connection: RawConnection, what: str, times: dict[str, dict[str, int]] | None = None
    ) -> None:
        answer = await connection.request(self._subject(what), msgspec.json.encode(Done(self._made, times or {})))
        decode_answer(answer[4], where=what)

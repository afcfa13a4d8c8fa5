"""Lets boxes in: a join file is good for one box, once, at its own site."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from millstream.bus import RawConnection, StreamApi, StreamConfig, decode_answer, ensure_stream
from millstream.kernel import AuthError, Clock, FencedError, PlantError
from millstream.protocols.audit import act_data
from millstream.protocols.nats_jwt import read_token
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.trust_chain import CHAIN_STREAM, CHAIN_SUBJECT, Chain
from millstream.sdk import Received
from millstream.trust import HubTenant, JoinAnswer, edge_token, read_request

STREAM, PREFIX = CHAIN_STREAM, "$KV.trust."
STREAM_BYTES_MAX = 64 << 20
REQUEST_BYTES_MAX = 4096
LOOKS_AWAITED, LOOK_AWAITED_S = 20, 0.1
HAND_ON_TRIES_MAX = 4  # members that lead at one time are two at most, for a moment
SERIAL_HEADER = "Millstream-Serial"

Audit = Callable[[str, str, dict[str, object]], Awaitable[object]]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What was given for a join file: the key of the box that came with it."""

    site: str
    public: str
    time_s: int


def trust_stream() -> StreamConfig:
    """Who joined with which file; it only grows."""
    return {
        "name": STREAM, "subjects": [f"{PREFIX}>"], "storage": "file", "retention": "limits", "num_replicas": 1,
        "max_bytes": STREAM_BYTES_MAX, "max_msgs_per_subject": 1, "discard": "new", "allow_direct": True,
        "deny_delete": True, "deny_purge": True,
    }  # fmt: skip


class Registrar:
    """Answers those who come with a join file of one tenant. `tenant` gives what the operator says now, `operator` its
    public key; `ca_file` has the authorities by which the hub is known."""

    def __init__(
        self, connection: RawConnection, tenant: Callable[[], HubTenant], operator: Callable[[], str], clock: Clock,
        audit: Audit, ca_file: Path | None = None, origin: Callable[[str], str] = lambda key: "",
    ) -> None:  # fmt: skip
        """`origin`: from where the holder of a key is connected; "" when that is not known."""
        self._connection = connection
        self._api = StreamApi(connection)
        self._tenant = tenant
        self._operator = operator
        self._clock = clock
        self._audit = audit
        self._ca_file = ca_file
        self._origin = origin
        self._awaited: set[str] = set()

    async def prepare(self) -> None:
        """Make the stream. Raises PlantError."""
        await ensure_stream(self._api, trust_stream())

    async def answer(self, subject: str, payload: bytes) -> bytes:
        """The answer to what came on ``millstream.join.<site>.<bearer>``; the server lets a join file ask under its own
        site and key only, so the subject says who asks."""
        site, bearer = subject.split(".")[2:4]
        try:
            token = await self._admit(site, bearer, payload)
        except AuthError as error:
            told = act_data(f"join file of {site}", self._origin(bearer), None, None, site=site, bearer=bearer)
            await self._audit("join", "refused", {**told, "reason": str(error)})
            return msgspec.json.encode(JoinAnswer(error=error.as_dict()))
        except PlantError as error:  # the store: the box asks again
            return msgspec.json.encode(JoinAnswer(error=error.as_dict()))
        return msgspec.json.encode(JoinAnswer(token=token, certificate=await self._authorities()))

    async def _authorities(self) -> str | None:
        """Newer ones than the join file has, perhaps."""
        if self._ca_file is None:
            return None
        try:
            return await asyncio.to_thread(self._ca_file.read_text, encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None  # the box goes on with those in its join file

    async def _admit(self, site: str, bearer: str, payload: bytes) -> str:
        tenant = await self._tenant_with(site, bearer)
        known = tenant.sites.get(site)
        if known is None or known.is_revoked or bearer not in known.tokens:
            raise AuthError(
                "this join file opens nothing here", where=site, code="MS-2107",
                next_step="a hub elsewhere has to have the operator's newest file first; else ask for a new join file",
            )  # fmt: skip
        public = read_request(payload[:REQUEST_BYTES_MAX], site, bearer)
        now_s = self._clock.now_ns() // 1_000_000_000
        joined = Joined(site=site, public=public, time_s=now_s)
        first = await self._note(bearer, joined)
        if first.public != public:
            raise AuthError(
                "this join file was used already", where=site, got=f"by {first.public}", code="MS-2108",
                next_step="if that was not you, revoke the site; for a new box, make a new join file",
            )  # fmt: skip
        if first is joined:
            after = {"place": known.place, "public": public}
            told = act_data(f"join file of {site}", self._origin(bearer), None, after, site=site, bearer=bearer)
            await self._audit("join", "done", {**told, "public": public})
        # A box that was killed before it had the answer asks again with the same key and gets the same.
        return edge_token(tenant.plant_public, tenant.roles["edge"], site, known.place, public, first.time_s)

    async def _tenant_with(self, site: str, bearer: str) -> HubTenant:
        """As the operator says. A file made this instant may be ahead of the hub's next look at what the operator says,
        so one that is not known waits for some looks; one request of a bearer at a time."""
        if bearer in self._awaited:
            return self._tenant()
        self._awaited.add(bearer)
        try:
            for _ in range(LOOKS_AWAITED):
                known = self._tenant().sites.get(site)
                if known is not None and (known.is_revoked or bearer in known.tokens):
                    break
                await self._clock.sleep(LOOK_AWAITED_S)
        finally:
            self._awaited.discard(bearer)
        return self._tenant()

    async def _note(self, bearer: str, joined: Joined) -> Joined:
        """What is stored for this file: `joined` when nothing was."""
        subject = f"{PREFIX}join.{bearer}"
        found = await self._api.last(STREAM, subject)
        if found is None:
            lines = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
            try:
                answer = await self._connection.request(subject, msgspec.json.encode(joined), header_lines=lines)
                decode_answer(answer[4], where=subject)
                return joined
            except FencedError:  # another came first, this instant
                found = await self._api.last(STREAM, subject)
        assert found is not None
        return msgspec.json.decode(found.payload, type=Joined)

    async def hand_on(self, chain: bytes, serial: int) -> None:
        """Store what edges prove signatures with, as the operator's file of `serial` says. What stands there is
        replaced only if it is what was compared. Raises AuthError when it is of a newer file, or of another one with
        the same number: it stays then; FencedError when others were faster each time."""
        for _ in range(HAND_ON_TRIES_MAX):
            found = await self._api.last(STREAM, CHAIN_SUBJECT)
            if found is not None:
                if found.payload == chain:
                    return
                self._check_newer(found, serial)
            after = 0 if found is None else found.seq
            lines = f"Nats-Expected-Last-Subject-Sequence: {after}\r\n{SERIAL_HEADER}: {serial}\r\n"
            with suppress(FencedError):  # another member wrote meanwhile: what it said is looked at
                answer = await self._connection.request(CHAIN_SUBJECT, chain, header_lines=lines.encode())
                decode_answer(answer[4], where=CHAIN_SUBJECT)
                return
        raise FencedError("another member hands on who may sign", where=CHAIN_SUBJECT)

    def _check_newer(self, found: Received, serial: int) -> None:
        """Raise AuthError unless a file of `serial` comes after what stands there, by the same operator."""
        known = int(parse_headers(found.headers).values.get(SERIAL_HEADER, "-1"))
        if serial > known or not self._is_of_operator(found.payload):
            return
        what = (
            "the operator has signed two different files under one number" if serial == known
            else "the sites have been told of a newer file of the operator"
        )  # fmt: skip
        raise AuthError(
            what, where=self._tenant().name, expected=f"a file newer than serial {known}", got=f"serial {serial}",
            next_step="let the operator renew its newest key store by any `millstream site` or `user` command, and "
            "copy that hub.trust to the hub", code="MS-2105",
        )  # fmt: skip

    def _is_of_operator(self, payload: bytes) -> bool:
        """Whether what stands there is of the operator whom this hub goes by: one that took its place counts anew."""
        try:
            said = read_token(msgspec.json.decode(payload, type=Chain).operator_token)
        except (msgspec.DecodeError, AuthError):
            return False
        return said.subject == self._operator()

    async def keys_of(self, site: str) -> list[str]:
        """The keys of all boxes that joined as this site."""
        keys = []
        for token in self._tenant().sites[site].tokens:
            found = await self._api.last(STREAM, f"{PREFIX}join.{token}")
            if found is not None:
                keys.append(msgspec.json.decode(found.payload, type=Joined).public)
        return keys

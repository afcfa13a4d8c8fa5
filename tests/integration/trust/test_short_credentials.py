"""Credentials that end while somebody is connected: the server hangs up, and who is let in anew comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from trust_site import RawLeaf, client_of, creds_of, joined_edge, now_s, told, trusted_hub, until

from millstream.bus import Credentials, connect_nats
from millstream.kernel import AuthError
from millstream.protocols.nats_jwt import KeyPair, parse_creds, read_token, sign_claims

LIFE_S = 3


async def test_a_credential_that_ends_cuts_its_live_link_and_a_new_one_opens_it_again(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        leaf = await joined_edge(site, "acme", "plant1")
        token, key = parse_creds(leaf, where="test")
        tenant = site.operator.tenant("acme")
        claims = {name: read_token(token).claims[name] for name in ("sub", "name", "nats")}
        ann = site.operator.user("acme", "ann", "viewer", expires_s=LIFE_S)
        ends_s = now_s() + LIFE_S
        short = sign_claims({**claims, "exp": ends_s}, KeyPair(tenant.roles["edge"]), now_s())
        await site.taken()
        async with RawLeaf(site.leaf_port, creds_of(short, key)) as link:
            client = await connect_nats(site.hub.server.url, Credentials(creds_file=ann))
            try:
                assert not await link.read("never"), "the server hangs up on the site"
                assert time.time() >= ends_s - 1, "and not before its time"
                await until(lambda: not client.is_connected, "the server hangs up on the user")
            finally:
                with contextlib.suppress(OSError):
                    await client.close()
        await asyncio.sleep(max(0.0, ends_s + 1.5 - time.time()))  # a token is good until its second is over
        with pytest.raises(AuthError):
            async with client_of(site, ann):
                pass
        await told(site, "acme", "login.refused", name="ann")
        with site.operator.changing():
            site.operator.tenant("acme").users.pop("ann")
        ann.unlink()
        new = site.operator.user("acme", "ann", "viewer", expires_s=3600)  # renewed: written where the old one was
        assert new == ann
        await site.taken()
        async with client_of(site, ann) as back:
            assert back.is_connected

"""Which keys joined with a site's join files: only the hub knows, since each box makes its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from millstream.bus import Credentials
from millstream.bus._link import open_link
from millstream.client._node import URL_VARIABLE
from millstream.kernel import ConfigError, SystemClock
from millstream.protocols.nats_jwt import KeyPair, format_creds, sign_claims
from millstream.sdk import TlsFiles
from millstream.trust import Site, Tenant, Trust, new_key, owner_claims

LOGIN_S = 60


async def joined_keys(trust: Trust, tenant: Tenant, site: Site, url: str | None) -> list[str]:
    """The public keys of all boxes that joined as this site. It takes a log-in of a minute in the tenant's own account,
    which the operator can make. Raises ConfigError, Unreachable, AuthError."""
    address = url or os.environ.get(URL_VARIABLE)
    if not address:
        raise ConfigError(
            "which hub?", expected="--url with the hub's client port", code="MS-2103",
            next_step="the hub knows which keys joined as this site",
        )  # fmt: skip
    key = new_key("user")
    now_s = SystemClock().now_ns() // 1_000_000_000
    claims = owner_claims(key.public, "operator", tenant.plant_public) | {"exp": now_s + LOGIN_S}
    token = sign_claims(claims, KeyPair(tenant.plant_signing), now_s)
    keys = []
    with tempfile.TemporaryDirectory() as folder:
        creds = Path(folder) / "operator.creds"
        creds.touch(mode=0o600)
        creds.write_text(format_creds(token, key.seed), encoding="ascii")
        tls = None
        if trust.certificate is not None:
            tls = TlsFiles(ca_file=Path(folder) / "ca.pem")
            (Path(folder) / "ca.pem").write_text(trust.certificate, encoding="ascii")
        async with open_link(address, Credentials(creds_file=creds, tls=tls), name="millstream operator") as link:
            for join in site.tokens:
                frame = await link.request(f"$JS.API.DIRECT.GET.KV_trust.$KV.trust.join.{join.public}")
                if frame.payload:  # none: nobody came with this file
                    keys.append(str(msgspec.json.decode(frame.payload)["public"]))
    return keys

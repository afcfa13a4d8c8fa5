"""A box that joins knows its hub by the join file, and goes on knowing it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trust_site import trusted_hub, until

from millstream.bus import LeafListener, NatsServer, ServerSettings, ServerTls
from millstream.client import joined_keys
from millstream.config import EdgeConfig
from millstream.edge import EdgeNode, join_hub
from millstream.kernel import AuthError
from millstream.sdk import TlsFiles
from millstream.tls import begin_roll_over, issue, make_authority, read_facts


def section(folder: Path, name: str) -> dict[str, Any]:
    """A `tls` section."""
    return {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key", "ca_file": folder / "ca.pem"}


@pytest.mark.attack(
    "a hub that is not the join file's, to be told what is for the hub", layer="edge (authority in the file)"
)
async def test_a_box_joins_the_hub_of_its_file_and_no_other(tmp_path: Path) -> None:
    for name in ("tls", "evil"):
        make_authority(tmp_path / name, "test", time.time())
        issue(tmp_path / name, "hub", [], time.time())
    authority = (tmp_path / "tls" / "ca.pem").read_text(encoding="ascii")
    async with trusted_hub(tmp_path, "acme", more={"tls": section(tmp_path / "tls", "hub")}) as site:
        site.operator.trust.hub_url = f"tls://localhost:{site.leaf_port}"
        site.operator.trust.certificate = authority
        file = msgspec.structs.replace(site.operator.join_file("acme", "plant1"), certificate=authority)
        await site.taken()

        evil = ServerTls(TlsFiles(**section(tmp_path / "evil", "hub")))
        settings = ServerSettings("h1", domain="hub", leaf_listener=LeafListener(), tls=evil)
        async with NatsServer(settings, tmp_path / "middle") as middle:
            listener = middle.settings.leaf_listener
            assert listener is not None
            astray = msgspec.structs.replace(file, hub_url=f"tls://localhost:{listener.port}")
            with pytest.raises(AuthError, match="not taken for the hub") as refused:
                await join_hub(astray, tmp_path / "box", patience_s=60)
        assert refused.value.code == "MS-2509"
        assert not (tmp_path / "box" / "secrets" / "uplink.creds").exists()

        # An authority that is about to be replaced: the answer brings what the join file, made before, has not.
        begin_roll_over(tmp_path / "tls", time.time())
        kept = tmp_path / "hub" / "server" / "tls" / "ca.pem"
        await until(lambda: len(read_facts(kept)) == 2, "both authorities at the hub")
        joined = await join_hub(file, tmp_path / "box", patience_s=60)
        assert joined.ca_file is not None
        assert joined.ca_file.read_bytes() == kept.read_bytes()

        raw = {
            "edge": {"name": "plant1", "path": file.place, "data_dir": tmp_path / "box"},
            "uplink": {"url": file.hub_url, "credentials": joined.creds_file, "ca_file": joined.ca_file},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
        }
        async with EdgeNode(EdgeConfig.model_validate(raw)) as edge:
            await until(lambda: edge.status()["uplink"]["state"] in ("idle", "flowing"), "the link of the edge")  # type: ignore[index]
        tenant = site.operator.tenant("acme")
        # The operator asks the hub by the authority that it gave out.
        url = site.hub.server.url.replace("127.0.0.1", "localhost")
        assert await joined_keys(site.operator.trust, tenant, tenant.sites["plant1"], url) == [joined.public]

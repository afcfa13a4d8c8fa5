"""Three boxes whose links to one another are TLS, by an authority of their own; who shows another's is not let in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cluster_site import MEMBERS, Cluster
from forward_site import until

from millstream.bus import RawConnection
from millstream.bus._server_log import http_get_json
from millstream.client import find_node
from millstream.tls import issue, make_authority


class SecuredCluster(Cluster):
    """Each member has a certificate; `authorities` are the folders of whom it believes and who signed it."""

    def __init__(self, folder: Path, authorities: dict[str, Path]) -> None:
        super().__init__(folder, edges=[], historian=None)
        self.authorities = authorities

    def document(self, member: str) -> dict[str, Any]:
        """With a `tls` section."""
        own = self.authorities[member]
        files = {"certificate": own / f"{member}.pem", "key": own / f"{member}.key", "ca_file": own / "ca.pem"}
        return super().document(member) | {"tls": {name: str(path) for name, path in files.items()}}

    @contextlib.asynccontextmanager
    async def connection(self, member: str) -> AsyncIterator[RawConnection]:
        """A client of one member, which knows it by its authority."""
        node = find_node(self.folder / member)
        async with RawConnection(node.nats_url, credentials=node.credentials, replicas=3) as connection:
            yield connection

    async def linked(self, member: str) -> set[str]:
        """The members that a member's server has links to."""
        node = json.loads((self.folder / member / "node.json").read_text(encoding="utf-8"))
        page = await http_get_json("127.0.0.1", node["monitor_port"], "/routez")
        return {str(route["remote_name"]).removeprefix("h1-") for route in page.get("routes") or ()}

    def log(self, member: str) -> str:
        """What its server wrote."""
        return (self.folder / member / "server" / "nats-server.log").read_text(encoding="utf-8", errors="replace")

    async def in_clear(self, member: str) -> bytes:
        """What the port of the links says to one that comes in clear."""
        port = int(self._routes[member].rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
            async with asyncio.timeout(30):
                return await reader.read(-1)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def test_boxes_talk_to_one_another_in_tls_and_to_none_with_a_foreign_certificate(tmp_path: Path) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    for folder in (own, foreign):
        make_authority(folder, folder.name, time.time())
    for member in MEMBERS:
        issue(own, member, ["127.0.0.1"], time.time())
    issue(foreign, "c", ["127.0.0.1"], time.time())
    cluster = SecuredCluster(tmp_path, dict.fromkeys(MEMBERS, own))
    try:
        await cluster.start("a", "b")

        async def says_so() -> bool:
            return "MS-2602" in str((await cluster.status("a")).get("trouble"))

        await until(says_so, "two of three that never met the third say what they wait for")
        await cluster.start("c")
        await cluster.wait_leader()
        for member in MEMBERS:
            await cluster.wait_current(member)
            assert await cluster.linked(member) == set(MEMBERS) - {member}
            said = await cluster.in_clear(member)
            assert b"INFO" not in said, said
            assert b"PONG" not in said, said

        await cluster.stop("c")
        cluster.authorities["c"] = foreign
        await cluster.start("c")
        await until(lambda: "by unknown authority" in cluster.log("a") + cluster.log("b"), "the third is turned away")
        await cluster.wait_leader()  # the two go on
        assert await cluster.linked("a") == {"b"}
        assert await cluster.linked("c") == set()
        assert not (await cluster.status("c")).get("is_current")

        await cluster.stop("c")
        cluster.authorities["c"] = own
        await cluster.start("c")
        await cluster.wait_current("c")
        assert await cluster.linked("c") == {"a", "b"}
    finally:
        await cluster.stop_all()

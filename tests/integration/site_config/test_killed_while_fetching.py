"""An edge that is killed in the middle of a module goes on with what its disk has, and proves all of it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import yaml
from site_kit import WAIT_S, Site, healthy, report_where

from millstream.bus import Credentials, connect_nats
from millstream.client import connect
from millstream.protocols.module import CHUNK_BYTES, MODULES, chunks_subject, info_subject, module_digest
from millstream.rig import new_secret, write_document, write_private
from millstream.sim._mischief import Mischief, Treatment
from millstream.sim._proxy import FaultProxy

ODD = Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm"
CHUNKS_COUNT = 24


class Halt(Mischief):
    """Lets so many bytes pass, and nothing more."""

    def __init__(self, bytes_count: int) -> None:
        super().__init__((), 0.0, 0)
        self._left = bytes_count

    def treat(self, answer: bytes) -> Treatment:
        """As Mischief."""
        self._left -= len(answer)
        return Treatment((answer,)) if self._left > 0 else Treatment((), is_frozen=True)


def padded(data: bytes) -> bytes:
    """The same module with much in a section that no engine reads (WebAssembly core specification, 5.5.3)."""
    content = b"\x03pad" + os.urandom(CHUNKS_COUNT * CHUNK_BYTES)
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return data + b"\0" + length + bytes([size]) + content


def document(digest: str) -> str:
    """What the site is to run."""
    return str(yaml.safe_dump({"flows": [{"name": "rows", "type": "wasm", "module": digest}]}))


async def killed_in_the_middle(made: Site, proxy: FaultProxy, digest: str) -> tuple[Path, int]:
    """The part on the disk, and how many bytes of it count, once the link has hung and the edge was killed."""
    part = made.data / "modules" / f"{digest.removeprefix('sha256:')}.part"
    async with asyncio.timeout(WAIT_S):
        while not part.exists() or part.stat().st_size < 3 * CHUNK_BYTES:
            await asyncio.sleep(0.05)
    assert made.edge is not None
    await made.edge.kill()
    noted = int(json.loads(part.with_suffix(".note").read_bytes())["size"])
    assert 0 < noted <= part.stat().st_size < CHUNKS_COUNT * CHUNK_BYTES
    proxy.treat(None)
    proxy.restore()
    return part, noted


async def forget_first_chunk(made: Site, digest: str) -> None:
    """Who began anew could never have all of it."""
    node = json.loads((made.folder / "hub" / "node.json").read_text(encoding="utf-8"))
    client = await connect_nats(node["nats_url"], Credentials(node["user"], node["password"]))
    try:
        stream = client.jetstream()
        info = await stream.get_last_msg(MODULES, info_subject(digest))
        subject = chunks_subject(json.loads(info.data or b"{}")["nuid"])
        first = await stream.get_msg(MODULES, seq=1, subject=subject, next=True)
        assert first.seq is not None
        await stream.delete_msg(MODULES, first.seq)
    finally:
        await client.close()


async def test_a_fetch_goes_on_from_the_disk_after_a_kill_and_its_digest_is_proven(tmp_path: Path) -> None:
    made = Site(tmp_path, secret=write_private(tmp_path / "edge.secret", new_secret()))
    hub = {
        "hub": {"name": "hub", "data_dir": str(tmp_path / "hub")}, "streams": {"max_bytes": "64MiB"}, "historian": None,
        "edges": [{"name": "e1", "path": "acme/plant1", "secret": {"file": str(made.secret)}}],
    }  # fmt: skip
    write_document(tmp_path / "hub.yaml", hub)
    try:
        await made.start_hub()
        async with (
            FaultProxy("127.0.0.1", made.leaf_port) as proxy,
            connect(node=tmp_path / "hub") as plant,
        ):
            made.leaf_port = proxy.port
            write_document(tmp_path / "e1.yaml", made.edge_file([]))
            await made.start_edge()
            for number, is_damaged in ((1, False), (2, True)):
                data = padded(ODD.read_bytes())
                pushed = await plant.configs.code.push(data, "odd.wasm", author="ada")
                await report_where(plant, lambda r: r["phase"] == "settled")
                proxy.treat(Halt(8 * CHUNK_BYTES))
                await plant.configs.put("e1", document(pushed.digest), based_on=number - 1)
                part, noted = await killed_in_the_middle(made, proxy, pushed.digest)
                if is_damaged:  # what a disk makes of a power failure: the note is there, the bytes are others
                    raw = bytearray(part.read_bytes())
                    raw[noted // 2] ^= 1
                    part.write_bytes(raw)
                else:
                    assert part.read_bytes()[:noted] == data[:noted]
                    await forget_first_chunk(made, pushed.digest)
                await made.start_edge()
                await healthy(plant, number)
                assert module_digest(part.with_suffix("").read_bytes()) == pushed.digest
                assert not part.exists()
    finally:
        for child in (made.edge, made.hub):
            if child is not None:
                await child.stop()

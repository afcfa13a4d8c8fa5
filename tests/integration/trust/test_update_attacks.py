"""Attempts to make a site run what is no release for it: a real hub in operator mode, and an edge that has joined."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client
from trust_site import hub_client, refusals, trusted_hub

from millstream import __version__
from millstream.client import NodeCommand, Plant, Signer
from millstream.protocols.module import MODULES, chunks_subject, info_subject
from millstream.release import Held, Launched

attack = pytest.mark.attack
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"


def wheel(version: str, *, needs: str = "numpy", inside: str = "millstream/note.txt") -> bytes:
    """One that an installer would take, but for the name of the file `inside`."""
    out, info = io.BytesIO(), f"millstream-{version}.dist-info"
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(f"{info}/METADATA", f"Name: millstream\nVersion: {version}\nRequires-Dist: {needs}\n\n")
        made.writestr(f"{info}/WHEEL", WHEEL)
        made.writestr(inside, version)
    return out.getvalue()


def packed(version: str, *, tags: str = "py3-none-any", needs: str = "numpy", inside: str = "millstream/n") -> bytes:
    """A release, past all checks of the command that makes one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(f"millstream-{version}-{tags}.whl", wheel(version, needs=needs, inside=inside))
    return out.getvalue()


async def update(plant: Plant, digest: str, **args: object) -> NodeCommand:
    """Send it, and wait for its end."""
    id = await plant.commands.send("update", {"package": digest, **args}, nodes=["east"], who="test")
    (found,) = await plant.commands.wait(id, timeout_s=60)
    return found


async def other_bytes(client: Client, digest: str, data: bytes) -> None:
    """Put others in the place of a module's."""
    streams = client.jetstream()
    info = msgspec.json.decode((await streams.get_last_msg(MODULES, info_subject(digest))).data or b"")
    subject = chunks_subject(info["nuid"])
    await streams.purge_stream(MODULES, subject=subject)
    await streams.publish(subject, data)


@attack("a release of Millstream that nobody signed, or a viewer", layer="edge: chain of trust")
@attack("a release whose bytes were changed at the hub", layer="edge: digest")
@attack("a wheel that was signed as a flow, sent as a release", layer="edge: kind in the signed manifest")
@attack("a release whose files lead out of their folder", layer="edge: names in the release")
@attack("an older release than runs, to bring an old fault back", layer="edge: version")
@attack("a release that says it is another version than it is", layer="edge: trial beside the version that runs")
async def test_an_edge_runs_no_release_that_is_not_its_own(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "east")
        ann = Signer.of(site.operator.user("acme", "ann", "engineer"))
        vic = Signer.of(site.operator.user("acme", "vic", "viewer"))
        await site.taken()
        folder = await site.join(file)
        edge_file = tmp_path / "edge.yaml"
        edge_file.write_text(f"edge: {{name: east, path: acme/east, data_dir: {folder}}}\n", encoding="utf-8")
        words = (sys.executable, "-m", "millstream", "edge", "-c", str(edge_file))
        launched = Launched(words, words[3:], __version__, Held("", __version__))
        async with (
            site.edge(file, folder, launched) as node, site.plant("acme") as plant, hub_client(site, "acme") as client,
        ):  # fmt: skip
            code = plant.configs.code

            async def push(data: bytes, signer: Signer | None, name: str = "m.release") -> str:
                plant.configs.signer = signer
                return (await code.push(data, name, author="who")).digest

            async def refused(digest: str, code: str, said: str, **args: object) -> None:
                found = await update(plant, digest, **args)
                assert (found.state, found.code) == ("failed", code), found
                assert said in str(found.reason)

            good = packed("9.0.0")
            unsigned = await push(good, None)
            await refused(unsigned, "MS-2443", "nobody signed it")
            await push(good, vic)
            await refused(unsigned, "MS-2443", "may not")
            changed = await push(packed("9.0.1"), ann)
            await other_bytes(client, changed, packed("9.0.2"))
            await refused(changed, "MS-2441", "another module")
            flow = await push(wheel("9.0.3"), ann, "millstream-9.0.3-py3-none-any.whl")
            await refused(flow, "MS-2450", "no release")
            tricky = await push(packed("9.0.4", inside="../../evil.py"), ann)
            await refused(tricky, "MS-2450", "leads out of its folder")
            assert await refusals(site, "update", 5, "code", "package") == [
                ("MS-2443", unsigned), ("MS-2443", unsigned), ("MS-2441", changed), ("MS-2450", flow),
                ("MS-2450", tricky),
            ]  # fmt: skip

            old = await push(packed("0.0.1"), ann)
            await refused(old, "MS-2452", "older than what runs")
            await refused(await push(packed("9.0.5", tags="cp39-cp39-any"), ann), "MS-2451", "another machine")
            await refused(await push(packed("9.0.6", needs="numpy<1"), ann), "MS-2451", "needs numpy<1")
            await refused(await push(packed("9.0.7"), ann), "MS-2453", "answered")
            assert not (folder / "versions" / "choice.json").exists(), "nothing was switched"
            assert not (folder / "evil.py").exists()
            assert not node.wants_restart

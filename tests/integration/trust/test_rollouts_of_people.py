"""Engineers roll configurations and modules out below their paths, signed by their own keys, with their own log-ins."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from login_site import Person
from test_configs_of_people import seen_by
from trust_site import DEADLINE_S, Operator, Site, hub_client, hub_of, told, trusted_hub, until

from millstream.cli import main
from millstream.client import Plant, Rollout, Signer, connect
from millstream.client._desks import ask_desk
from millstream.config import load_folder
from millstream.kernel import AuthError, PlantError, free_port
from millstream.protocols.act import Act, encode_act, upon_module, upon_rollout
from millstream.protocols.below import MODULE, ROLLOUT, below_subject
from millstream.protocols.config_desk import encode_ask
from millstream.protocols.module import CHUNK_BYTES, MODULE_BYTES_MAX, Manifest, module_digest
from millstream.protocols.module_desk import ModuleAsk
from millstream.protocols.nats_jwt import parse_creds
from millstream.protocols.rollout_desk import RolloutAsk, RolloutPlan
from millstream.protocols.site_config import Revision, encode_revision, make_revision
from millstream.trust import revoke_user

attack = pytest.mark.attack
ODD = (Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm").read_bytes()
SOUTH, WEST = "uns.v1.acme.south", "uns.v1.acme.west"


def document(digest: str, retention: str = "64MiB") -> str:
    """What a site runs: a flow out of a module."""
    flows = [{"name": "rows", "type": "wasm", "module": digest}]
    return str(yaml.safe_dump({"streams": {"integrity": {"max_bytes": retention}}, "flows": flows}))


def folder_of(folder: Path, text: str, sites: Sequence[str]) -> Path:
    """A folder in which each site has the same document."""
    (folder / "sites").mkdir(parents=True, exist_ok=True)
    for site in sites:
        (folder / "sites" / f"{site}.yaml").write_text(text, encoding="utf-8")
    return folder


async def ended(plant: Plant, name: str, *states: str) -> Rollout:
    """A roll-out, once it is in one of these states."""
    end = time.monotonic() + DEADLINE_S
    while (found := await plant.configs.rollouts.get(name)).state not in states:
        assert time.monotonic() < end, f"the roll-out is still {found}"
        await asyncio.sleep(0.05)
    return found


async def test_an_engineer_of_a_path_rolls_out_over_its_sites_over_a_restart_of_the_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = Operator(tmp_path)
    operator.sign()
    operator.tenant("acme")
    more = {"server": {"port": free_port(), "leaf_port": free_port()}}
    async with AsyncExitStack() as edges:
        async with AsyncExitStack() as stack:
            site = await stack.enter_async_context(hub_of(operator, more))
            files = {name: operator.join_file("acme", name, place=f"acme/south/{name}") for name in ("a", "b")}
            ann, bea = (
                operator.user("acme", name, "engineer", paths=paths)
                for name, paths in (("ann", ()), ("bea", ("acme/south",)))
            )
            await site.taken()
            folders = {name: await site.join(file) for name, file in files.items()}
            await edges.enter_async_context(site.edge(files["a"], folders["a"]))
            plant = await stack.enter_async_context(seen_by(site, bea, Signer.of(bea)))
            both = await stack.enter_async_context(seen_by(site, ann, Signer.of(ann)))

            # A module that no edge can make a flow of: the roll-out stops at its first site, and is taken back.
            pushed = await plant.configs.code.push(ODD, "odd.wasm", author="whoever")
            assert (pushed.author, pushed.digest) == ("bea", module_digest(ODD))
            assert await plant.configs.code.push(ODD, "odd.wasm", author="whoever") == pushed, "it is there already"
            await told(site, "acme", "module.pushed", digest=pushed.digest, who="bea", place="acme/south")
            plan = await plant.configs.plan(load_folder(folder_of(tmp_path / "git", document(pushed.digest), "ab")))
            await plant.configs.rollouts.start(plan, stages=["1", "all"], name="first", comment="the rows")

            async def is_there() -> bool:
                found = await plant.configs.rollouts.get("first")
                return found.sites[0].state == "healthy" and found.sites[1].state == "released"

            await until(is_there, "the first site is healthy, and the second has its revision, and is away")
            assert [rollout.place for rollout in await both.configs.rollouts.list()] == ["acme/south"]
            await told(site, "acme", "rollout.started", name="first", who="bea", place="acme/south")

        # The hub was stopped in the middle; started again, it goes on, and nobody is logged in.
        site = await edges.enter_async_context(hub_of(operator, more))
        await edges.enter_async_context(site.edge(files["b"], folders["b"]))
        plant = await edges.enter_async_context(seen_by(site, bea, Signer.of(bea)))
        done = await ended(plant, "first", "done", "stopped")
        assert (done.state, done.author, done.counts()) == ("done", "bea", {"healthy": 2})
        for name, folder in folders.items():
            report = await plant.configs.report(name)
            assert report is not None
            assert report["signed_by"] == Signer.of(bea).key.public
            assert [path.name for path in (folder / "modules").iterdir()] == [pushed.digest.removeprefix("sha256:")]

        login = ["--url", site.hub.server.url, "--creds", str(bea)]
        none = tmp_path / "none.wasm"
        none.write_bytes(b"\0asm\1\0\0\0")
        broken = await plant.configs.code.push(none.read_bytes(), none.name, author="whoever")
        folder_of(tmp_path / "git", document(broken.digest), "ab")
        start = ["config", "rollout", "start", str(tmp_path / "git"), "--stages", "1,all", "--name", "second"]
        code = await asyncio.to_thread(main, [*start, "--only", "b,a", "--wait", *login, "--sign", str(bea)])
        assert code == 6, capsys.readouterr()
        stopped = await plant.configs.rollouts.get("second")
        assert [(each.edge, each.state, each.code) for each in stopped.sites] == [
            ("b", "failed", "MS-2408"), ("a", "waiting", None),
        ]  # fmt: skip
        rollback = ["config", "rollout", "rollback", "second", "--json", *login, "--sign", str(bea)]
        assert await asyncio.to_thread(main, rollback) == 0
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"edge"')]
        assert said == [{"edge": "b", "result": "revision 3, as 1"}]
        await told(site, "acme", "rollout.cancelled", name="second", who="bea", key=Signer.of(bea).key.public)
        assert await asyncio.to_thread(main, ["code", "remove", broken.digest, *login]) != 0
        assert "nobody signed it" in capsys.readouterr().err
        assert await asyncio.to_thread(main, ["code", "remove", broken.digest, *login, "--sign", str(bea)]) == 0
        await told(site, "acme", "module.removed", digest=broken.digest, place="acme/south", is_gone=True, who="bea")


def revision_of(signer: Signer, edge: str, rollout: str, digest: str = "") -> Revision:
    """A signed revision past all checks of the SDK."""
    made = make_revision(
        edge, document(digest or module_digest(ODD)), revision=1, based_on=0, author=signer.name, comment="",
        time_ns=time.time_ns(), kind="apply", rollout=rollout,
    )  # fmt: skip
    return signer.sign_revision(made)


def manifest_of(signer: Signer, data: bytes = ODD, **changes: Any) -> Manifest:
    """A signed manifest past all checks of the SDK."""
    made = Manifest(
        digest=module_digest(data), size_bytes=len(data), kind="wasm", file="m.wasm", author=signer.name,
        time_ns=time.time_ns(),
    )  # fmt: skip
    return signer.sign_manifest(msgspec.structs.replace(made, **changes))


class Desks:
    """The hub's desks by hand, with somebody's log-in."""

    def __init__(self, plant: Plant) -> None:
        self._link = plant._link

    async def ask(self, what: str, place: str, ask: msgspec.Struct, body: bytes = b"") -> list[bytes]:
        """The parts of an answer; raises what the hub says."""
        return [frame.payload for frame in await ask_desk(self._link, what, place, ask, body) if frame.payload]

    async def refused(self, said: str, what: str, place: str, ask: msgspec.Struct, body: bytes = b"") -> None:
        """It is not done."""
        with pytest.raises(PlantError, match=said):
            await self.ask(what, place, ask, body)

    async def modules(self, place: str = SOUTH) -> dict[str, list[Manifest]]:
        """What is said of each module."""
        said = [
            msgspec.json.decode(raw, type=list[Manifest]) for raw in await self.ask(MODULE, place, ModuleAsk("list"))
        ]
        return {manifests[0].digest: manifests for manifests in said}

    async def begin(self, manifest: Manifest, place: str = SOUTH) -> str:
        """An upload."""
        (raw,) = await self.ask(MODULE, place, ModuleAsk("begin"), msgspec.json.encode(manifest))
        return str(msgspec.json.decode(raw)["upload"])

    async def upload(self, upload: str, chunks: Sequence[tuple[int, bytes]]) -> None:
        """Chunks by their numbers, then the end."""
        for index, chunk in chunks:
            await self.ask(MODULE, SOUTH, ModuleAsk("chunk", upload, index), chunk)
        await self.ask(MODULE, SOUTH, ModuleAsk("end", upload))

    async def start(self, name: str, signer: Signer, edge: str, place: str) -> None:
        """A roll-out over one site."""
        body = encode_revision(revision_of(signer, edge, name))
        await self.ask(ROLLOUT, place, RolloutAsk("prepare", name, edge), body)
        plan = RolloutPlan(sites=((edge, 0),), ends=(1,))
        await self.ask(ROLLOUT, place, RolloutAsk("start", name), msgspec.json.encode(plan))


def act_of(signer: Signer, rollout: Rollout, verb: Any, **changes: Any) -> bytes:
    """A signed act upon how a roll-out stands, past all checks of the SDK."""
    act = Act(
        verb=verb, subject=rollout.name, upon=upon_rollout(rollout), author=signer.name, time_ns=time.time_ns()
    )  # fmt: skip
    return encode_act(msgspec.structs.replace(signer.sign_act(act), **changes))


async def steered_by_authors_only(desks: Desks, at_ann: Plant, signers: tuple[Signer, Signer, Signer, Signer]) -> None:
    """The roll-out "r" over the south is stopped, resumed and stopped again, and by nobody who may not."""
    by_ann, by_bea, by_wes, by_vic = signers

    async def stands() -> Rollout:
        return await at_ann.configs.rollouts.get("r")

    async def do(verb: Any, act: bytes) -> None:
        await desks.ask(ROLLOUT, SOUTH, RolloutAsk(verb, "r", who="whoever"), act)

    async def refused(said: str, verb: Any, act: bytes) -> None:
        await desks.refused(said, ROLLOUT, SOUTH, RolloutAsk(verb, "r", who="ann"), act)

    begun = await stands()
    assert (begun.state, begun.turn, begun.by) == ("running", 0, None)
    for act, said in (
        (b"", "nobody signed it"), (act_of(by_bea, begun, "stop", signature=None), "nobody signed it"),
        (act_of(by_vic, begun, "stop"), "who signed it may not"), (act_of(by_wes, begun, "stop"), "no author here"),
        (act_of(by_bea, begun, "stop", author="ann"), "signature does not fit"),
        (act_of(by_bea, begun, "stop", upon="0.0"), "signature does not fit"),
        (act_of(by_bea, begun, "resume"), "not the act"), (act_of(by_bea, begun, "stop", subject="x"), "not the act"),
        (act_of(by_bea, msgspec.structs.replace(begun, created_ns=1), "stop"), "for what stood there before"),
        (b"x" * 20_000, "not the act"), (b"{}", "not the act"),
    ):  # fmt: skip
        await refused(said, "stop", act)
    assert (await stands()).state == "running"

    stop = act_of(by_bea, begun, "stop")
    for _ in range(2):  # the first answer was lost
        await do("stop", stop)
        stopped = await stands()
        assert (stopped.state, stopped.reason, stopped.turn) == ("stopped", "stopped by bea", 1)
        assert stopped.by == msgspec.json.decode(stop), "who looks later can prove it"
    await at_ann.configs.rollouts.resume("r")
    resume = act_of(by_bea, stopped, "resume")
    await refused("for what stood there before", "stop", stop)  # sent again by whoever kept it
    await refused("for what stood there before", "resume", resume)
    await do("stop", act_of(by_ann, await stands(), "stop"))
    assert ((await stands()).state, (await stands()).turn) == ("stopped", 3)


async def violations(site: Site, creds: Path, subjects: Sequence[tuple[str, msgspec.Struct]]) -> None:
    """The server lets nothing of this through."""
    _, key = parse_creds(creds.read_text(encoding="ascii"), where="test")
    found = Person()
    await found.client.connect(
        site.hub.server.url, user_credentials=str(creds), error_cb=found.note, allow_reconnect=False,
        inbox_prefix=f"_INBOX.{key.public}".encode(),
    )  # fmt: skip
    try:
        for subject, ask in subjects:
            assert await found.outcome(subject, encode_ask(ask)) == "violation", subject
    finally:
        await found.client.close()


@attack("an engineer of one path looking at, starting or stopping roll-outs elsewhere, or pushing modules there",
        layer="server (paths in the scope of the signing key), hub (what lies below the path)")  # fmt: skip
@attack("a viewer rolling out, or pushing and listing modules", layer="server (publish permission of the role)")
@attack("a roll-out of what nobody, a viewer, or an author of another path signed, or what was signed for another",
        layer="hub (operator's authors and their paths)")  # fmt: skip
@attack("stopping or resuming a roll-out by nobody's, a viewer's or another path's word, or by an old one sent again",
        layer="hub (signature of the act, and how what it is upon stands)")  # fmt: skip
@attack("a roll-out whose revision was changed in the hub's bucket, or whose author was locked out since",
        layer="hub (what was planned, operator's authors)")  # fmt: skip
async def test_nobody_rolls_out_beyond_his_paths_or_what_others_did_not_sign(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(trusted_hub(tmp_path, "acme"))
        user = site.operator.user
        for name, place in (("a", "acme/south/a"), ("b", "acme/south/b"), ("west", "acme/west")):
            site.operator.join_file("acme", name, place=place)
        ann, bea, wes, vic = (
            user("acme", "ann", "engineer"), user("acme", "bea", "engineer", paths=("acme/south",)),
            user("acme", "wes", "engineer", paths=("acme/west",)), user("acme", "vic", "viewer"),
        )  # fmt: skip
        await site.taken()
        by_ann, by_bea, by_wes, by_vic = (Signer.of(path) for path in (ann, bea, wes, vic))
        plant = await stack.enter_async_context(seen_by(site, bea, by_bea))
        desks = Desks(plant)
        at_ann = await stack.enter_async_context(seen_by(site, ann, by_ann))
        everywhere = Desks(at_ann)
        await everywhere.start("anns", by_ann, "west", "uns.v1")

        # What is not below the path is not there.
        assert await plant.configs.rollouts.list() == []
        anns = await at_ann.configs.rollouts.get("anns")
        for action in ("show", "stop", "cancel", "resume"):
            act = b"" if action == "show" else act_of(by_bea, anns, action)
            await desks.refused("no such roll-out", ROLLOUT, SOUTH, RolloutAsk(action, "anns"), act)
        for edge in ("west", "nobody", "*", ">"):
            body = encode_revision(revision_of(by_bea, "west", "r"))
            await desks.refused("no such site below", ROLLOUT, SOUTH, RolloutAsk("prepare", "r", edge), body)
        plan = msgspec.json.encode(RolloutPlan(sites=(("west", 0),), ends=(1,)))
        await desks.refused("no such site below", ROLLOUT, SOUTH, RolloutAsk("start", "r"), plan)
        for name in ("anns.west", "*", ">", "", "x" * 33):
            await desks.refused("not a name", ROLLOUT, SOUTH, RolloutAsk("show", name))
        elsewhere = [
            (below_subject(what, place), ask)
            for what, ask in ((ROLLOUT, RolloutAsk("list")), (MODULE, ModuleAsk("list")))
            for place in (WEST, "uns.v1.acme", "uns.v1", "uns.v1.acme.sout", ">", "*.>")
        ]
        await violations(site, bea, elsewhere)
        await violations(site, vic, [*elsewhere, (below_subject(ROLLOUT, SOUTH), RolloutAsk("list"))])
        await told(site, "acme", "permission.refused", subject=below_subject(ROLLOUT, WEST))
        async with connect(url=site.hub.server.url, creds_file=vic) as viewer:
            with pytest.raises(AuthError, match="may not ask for this"):  # at once, not as a hub that does not answer
                await viewer.configs.code.modules()

        # Only what an author of this site signed for this roll-out.
        good = revision_of(by_bea, "a", "r")
        for revision, said in (
            (msgspec.structs.replace(good, signature=None), "nobody signed it"),
            (revision_of(by_vic, "a", "r"), "who signed it may not"),
            (revision_of(by_wes, "a", "r"), "no author here"),
            (msgspec.structs.replace(good, comment="changed"), "signature does not fit"),
            (msgspec.structs.replace(good, author="ann"), "signature does not fit"),
            (revision_of(by_bea, "a", "other"), "signed for another roll-out"),
            (revision_of(by_bea, "b", "r"), "for another site"),
        ):
            ask = RolloutAsk("prepare", "r", "a")
            await desks.refused(said, ROLLOUT, SOUTH, ask, encode_revision(revision))
        await told(site, "acme", "rollout.refused", code="MS-2413", place="acme/south")
        await desks.refused("nothing is prepared", ROLLOUT, SOUTH, RolloutAsk("start", "r"),
                            msgspec.json.encode(RolloutPlan(sites=(("a", 0),), ends=(1,))))  # fmt: skip
        for body in (b"", b"{}", b'{"sites":[["a",0],["a",0]],"ends":[2]}', b'{"sites":[["a",0]],"ends":[2]}'):
            await desks.refused("not the plan", ROLLOUT, SOUTH, RolloutAsk("start", "r"), body)

        # Two authors in one; then what is prepared is changed behind the hub's back.
        for edge, signer, at in (("a", by_bea, desks), ("b", by_ann, everywhere)):
            ask, body = RolloutAsk("prepare", "r", edge), encode_revision(revision_of(signer, edge, "r"))
            await at.ask(ROLLOUT, SOUTH if at is desks else "uns.v1", ask, body)
        two = msgspec.json.encode(RolloutPlan(sites=(("a", 0), ("b", 0)), ends=(2,)))
        await desks.refused("several authors", ROLLOUT, SOUTH, RolloutAsk("start", "r"), two)
        await desks.ask(ROLLOUT, SOUTH, RolloutAsk("prepare", "r", "b"), encode_revision(revision_of(by_bea, "b", "r")))
        staged = RolloutPlan(sites=(("a", 0), ("b", 0)), ends=(1, 2), passes_away=True, failures_max=1)
        await desks.ask(ROLLOUT, SOUTH, RolloutAsk("start", "r"), msgspec.json.encode(staged))
        await desks.refused("there already", ROLLOUT, SOUTH, RolloutAsk("prepare", "r", "b"), encode_revision(
            revision_of(by_bea, "b", "r")))  # fmt: skip
        await steered_by_authors_only(desks, at_ann, (by_ann, by_bea, by_wes, by_vic))
        for kind in ("refused", "stopped", "resumed"):
            await told(site, "acme", f"rollout.{kind}", place="acme/south")
        async with hub_client(site, "acme") as hub:
            forged = msgspec.structs.replace(revision_of(by_bea, "b", "r"), comment="forged")
            await hub.jetstream().publish("$KV.rollouts.r.b", encode_revision(forged))
            raw = json.loads((await hub.jetstream().get_last_msg("KV_rollouts", "$KV.rollouts.r")).data or b"{}")
            raw["ends"], raw["state"] = [2], "running"
            await hub.jetstream().publish("$KV.rollouts.r", json.dumps(raw).encode())

            async def failed() -> bool:
                found = await plant.configs.rollouts.get("r")
                return found.sites[1].state == "failed"

            await until(failed, "the forged revision is not released")
            assert (await plant.configs.rollouts.get("r")).sites[1].code == "MS-2413"
            with pytest.raises(Exception, match=r"(?i)no message|not found"):
                await hub.jetstream().get_last_msg("KV_config", "$KV.config.b")

        # Who was locked out starts nothing, and what he had prepared is not released any more.
        body = encode_revision(revision_of(by_bea, "b", "late"))
        await desks.ask(ROLLOUT, SOUTH, RolloutAsk("prepare", "late", "b"), body)
        with site.operator.changing() as trust:
            revoke_user(trust.tenants["acme"], "bea", int(time.time()))
        await site.taken()
        late = msgspec.json.encode(RolloutPlan(sites=(("b", 0),), ends=(1,)))
        await everywhere.refused("none of the operator's authors", ROLLOUT, "uns.v1", RolloutAsk("start", "late"), late)


@attack("a module that nobody, a viewer, or an author of another path signed, pushed with an engineer's log-in",
        layer="hub (operator's authors and their paths)")  # fmt: skip
@attack("a module of other bytes than it says, of more than it says or a module may have, of chunks out of order, "
        "or into somebody else's upload", layer="hub (count and digest of what comes)")  # fmt: skip
@attack("exhausting the hub with modules: more than a tenant's store holds, or uploads that never end",
        layer="server (bound of the store), hub (uploads of an author)")  # fmt: skip
@attack("removing or taking over a module that somebody pushed who signs for more",
        layer="hub (a manifest for each author)")  # fmt: skip
@attack("looking for, naming or removing a module of another tenant by its digest", layer="server (accounts)")
async def test_nobody_pushes_names_or_removes_what_is_not_his(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(trusted_hub(tmp_path, "acme", "beta"))
        user = site.operator.user
        for tenant, name in (("acme", "south"), ("acme", "west"), ("beta", "east")):
            site.operator.join_file(tenant, name)
        ann, bea, wes, vic, eve = (
            user("acme", "ann", "engineer"), user("acme", "bea", "engineer", paths=("acme/south",)),
            user("acme", "wes", "engineer", paths=("acme/west",)), user("acme", "vic", "viewer"),
            user("beta", "eve", "engineer"),
        )  # fmt: skip
        await site.taken()
        by_ann, by_bea, by_wes, by_vic, by_eve = (Signer.of(path) for path in (ann, bea, wes, vic, eve))
        plants = [
            await stack.enter_async_context(seen_by(site, *who))
            for who in ((ann, by_ann), (bea, by_bea), (wes, by_wes), (eve, by_eve))
        ]
        at_ann, at_bea, at_wes, at_eve = plants
        desks = Desks(at_bea)

        for manifest, said in (
            (msgspec.structs.replace(manifest_of(by_bea), signature=None), "nobody signed it"),
            (manifest_of(by_vic), "who signed it may not"),
            (manifest_of(by_wes), "no author here"),
            (manifest_of(by_eve), "who signed it may not"),
            (msgspec.structs.replace(manifest_of(by_bea), file="other.wasm"), "signature does not fit"),
            (manifest_of(by_bea, size_bytes=MODULE_BYTES_MAX + 1), "too large"),
            (manifest_of(by_bea, digest="sha256:0"), "not a manifest"),
            (manifest_of(by_bea, file="../" * 50), "not a manifest"),
        ):
            await desks.refused(said, MODULE, SOUTH, ModuleAsk("begin"), msgspec.json.encode(manifest))
        await told(site, "acme", "module.refused", code="MS-2443", place="acme/south")

        # Bytes that are not what was signed are never stored under a name.
        small = b"x" * (CHUNK_BYTES + 10)
        for chunks, said in (
            ([(0, small[:CHUNK_BYTES]), (1, b"y" * 10)], "other bytes"),
            ([(0, small[:CHUNK_BYTES])], "other bytes"),
            ([(0, small[:CHUNK_BYTES]), (1, b"x" * 11)], "not the next chunk"),
            ([(1, small[:CHUNK_BYTES])], "not the next chunk"),
            ([(0, small)], "not the next chunk"),
            ([(0, b"")], "not the next chunk"),
        ):
            upload = await desks.begin(manifest_of(by_bea, small))
            with pytest.raises(PlantError, match=said):
                await desks.upload(upload, chunks)
            await desks.refused("no such upload", MODULE, SOUTH, ModuleAsk("end", upload))
        mine = [await desks.begin(manifest_of(by_bea, small)) for _ in range(2)]
        await desks.refused("too many modules", MODULE, SOUTH, ModuleAsk("begin"),
                            msgspec.json.encode(manifest_of(by_bea, small)))  # fmt: skip
        for other, place in ((at_wes, WEST), (at_ann, "uns.v1"), (at_eve, "uns.v1")):
            ask = ModuleAsk("chunk", mine[0], 0)
            await Desks(other).refused("no such upload", MODULE, place, ask, small[:CHUNK_BYTES])
        for _ in range(2):  # the first answer was lost
            await desks.ask(MODULE, SOUTH, ModuleAsk("chunk", mine[0], 0), small[:CHUNK_BYTES])
        await desks.ask(MODULE, SOUTH, ModuleAsk("chunk", mine[0], 1), small[CHUNK_BYTES:])
        await desks.ask(MODULE, SOUTH, ModuleAsk("end", mine[0]))

        async with hub_client(site, "acme") as hub:
            stream = hub.jetstream()
            config = (await stream.stream_info("OBJ_modules")).config
            await stream.update_stream(config.evolve(max_bytes=3 * CHUNK_BYTES))
            with pytest.raises(PlantError, match="no room for the module"):
                await at_ann.configs.code.push(b"z" * 4 * CHUNK_BYTES, "z.wasm", author="ann")
            found = await stream.stream_info("OBJ_modules", subjects_filter="$O.modules.C.*")
            assert list(found.state.subjects or {}) == [f"$O.modules.C.{mine[0]}"], "nothing is left of what failed"
            await stream.update_stream(config)

        # The same bytes, by several authors: each vouches for his own sites, and none takes away what is not his.
        digest = (await at_ann.configs.code.push(ODD, "odd.wasm", author="-")).digest
        for plant in (at_wes, at_bea):
            assert (await plant.configs.code.push(ODD, "odd.wasm", author="-")).digest == digest
        assert await at_ann.configs.code.authors(digest) == ["ann", "wes", "bea"]
        assert await at_bea.configs.code.authors(digest) == ["ann", "bea"], "wes says nothing about the south"
        seen = (await Desks(at_bea).modules())[digest]
        removal = by_bea.sign_act(Act(
            verb="remove", subject=digest, upon=upon_module(seen), author="bea", time_ns=time.time_ns()
        ))  # fmt: skip
        ask = ModuleAsk("remove", digest=digest, who="ann")
        for act, said in (
            (b"", "nobody signed it"), (encode_act(by_wes.sign_act(msgspec.structs.replace(removal, author="wes"))),
             "no author here"), (encode_act(msgspec.structs.replace(removal, upon="0")), "signature does not fit"),
        ):  # fmt: skip
            await desks.refused(said, MODULE, SOUTH, ask, act)
        assert await at_ann.configs.code.authors(digest) == ["ann", "wes", "bea"]
        await at_bea.configs.code.remove(digest)
        assert await at_ann.configs.code.authors(digest) == ["ann", "wes"]
        assert (await at_bea.configs.code.push(ODD, "odd.wasm", author="-")).digest == digest
        await desks.refused("for what stood there before", MODULE, SOUTH, ask, encode_act(removal))
        await at_bea.configs.code.remove(digest)
        with pytest.raises(PlantError, match="signs for more than this path"):
            await at_bea.configs.code.remove(digest)
        await at_wes.configs.code.remove(digest)

        # Another tenant knows nothing of all this.
        assert await at_eve.configs.code.modules() == []
        await Desks(at_eve).refused("no such module", MODULE, "uns.v1", ModuleAsk("remove", digest=digest))
        with pytest.raises(PlantError, match="no such module"):
            await at_eve.configs.put("east", document(digest))
        await at_ann.configs.code.remove(digest)
        assert [each.digest for each in await at_ann.configs.code.modules()] == [module_digest(small)]

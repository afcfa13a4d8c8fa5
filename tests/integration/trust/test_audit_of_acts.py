"""Each act of people on a hub with tenants is an audit event: who, from where, before and after. The table below is
all of them, by the name of the command; one that changes something and is not in it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
import msgspec
import pytest
from login_site import LoginSite, login_body, login_site
from test_configs_of_people import document, seen_by
from trust_site import Operator, Site, hub_client, until

from millstream.bus import Credentials, node_service
from millstream.cli import _limits, _lock_out, _login, _rekey, _trust
from millstream.cli._commands import COMMANDS
from millstream.cli._keys import Keys
from millstream.client import AlarmRow, Plant, Signer, _writes
from millstream.config import load_folder
from millstream.model import AssetPath
from millstream.protocols.alarm import Action, AlarmNote
from millstream.protocols.contract import Contract
from millstream.protocols.uns_subject import UnsAddress, encode_subject
from millstream.shop import STOP_TYPE, Fact, StopAction
from millstream.trust import Trust

MODULE = (Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm").read_bytes()
FLOW = {"name": "calm", "type": "deadband", "inputs": ["acme/**:speed"], "config": {"width": 0.5}, "instances": 0}
ANY_KEY = "a public key of an account"
SECRET = "correct horse battery staple"


class KeysInMemory(Keys):
    """The operator of a test, as commands see a key store."""

    def __init__(self, operator: Operator) -> None:
        super().__init__(trust=operator.folder)
        object.__setattr__(self, "operator", operator)

    def load(self) -> Trust:
        """See Keys."""
        return self.operator.trust  # type: ignore[attr-defined, no-any-return]

    def passphrase(self, *, is_new: bool = False) -> str:
        """See Keys."""
        return SECRET

    @contextmanager
    def changing(self) -> Iterator[Trust]:
        """See Keys."""
        with self.operator.changing() as trust:  # type: ignore[attr-defined]
            yield trust


@dataclass
class Stage:
    """Who acts, and on what. `own` has the hub's own rights, `ann` is an engineer and signs, `cora` a commander."""

    people: LoginSite
    folder: Path
    own: Plant
    ann: Plant
    cora: Plant
    keys: Keys
    http: httpx.AsyncClient
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        """The hub."""
        return self.people.site

    async def cli(self, function: Callable[..., int], *words: Any, **options: Any) -> None:
        """A command of the operator, in a thread, since it has a loop of its own."""
        assert await asyncio.to_thread(lambda: function(*words, keys=self.keys, **options)) == 0

    async def login(self, function: Callable[..., int], *words: Any, **options: Any) -> None:
        """A command of who runs the hub."""
        node = str(self.site.operator.folder / "hub")
        assert await asyncio.to_thread(lambda: function(*words, tenant="acme", node=node, **options)) == 0


@dataclass(frozen=True)
class Act:
    """What is done, the event that has to come of it, and what its `before` and `after` must have (None: nothing was
    there; a mapping: at least that)."""

    do: Callable[[Stage], Awaitable[object]]
    event: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    who: str = ""
    at_provider: bool = False


async def put(stage: Stage, plant: Plant, retention: str, based_on: int) -> None:
    """A configuration of the east."""
    await plant.configs.put(
        "east", document(retention), based_on=based_on, comment=f"to {retention}", author="owner"
    )  # fmt: skip


async def apply(stage: Stage) -> None:
    """From a folder, by the hub's own rights."""
    (plan,) = await stage.own.configs.plan(load_folder(folder_of(stage, "80MiB")))
    await stage.own.configs.apply(plan, author="owner", overwrite=True)


def folder_of(stage: Stage, retention: str) -> Path:
    """A folder of one site."""
    git = stage.folder / "git"
    (git / "sites").mkdir(parents=True, exist_ok=True)
    (git / "sites" / "east.yaml").write_text(document(retention), encoding="utf-8")
    return git


async def start(stage: Stage) -> None:
    """A roll-out to a site that is away: it goes on until somebody stops it."""
    plan = await stage.ann.configs.plan(load_folder(folder_of(stage, "90MiB")))
    await stage.ann.configs.rollouts.start(plan, name="first", overwrite=True)


async def push(stage: Stage) -> None:
    """A module."""
    stage.notes["module"] = (await stage.ann.configs.code.push(MODULE, "odd.wasm", author="-")).digest


async def send(stage: Stage) -> None:
    """A command to a site that is away."""
    stage.notes["command"] = await stage.cora.commands.send("diagnostics", {"depth": 1}, nodes=["east"], who="cora")


async def letter(stage: Stage) -> str:
    """A dead letter of the hub, by its id."""
    headers = {"Ms-Reason": "a bad day", "Ms-Code": "MS-0302", "Ms-Source": "press", "Ms-Time": "1790000000000000000",
               "Content-Type": "application/json", "Ms-Subject": "uns.v1.acme.east._tag.n"}  # fmt: skip
    async with hub_client(stage.site, "acme") as hub:
        stored = await hub.jetstream().publish("dlq.hub.press", b"\xff", headers=headers)
    return f"H_DLQ:{stored.seq}"


async def repair(stage: Stage) -> None:
    """A letter, put right."""
    payload = json.dumps({"value": 4, "timestamp_ms": 1_790_000_000_000}).encode()
    await stage.own.letters.replay(await letter(stage), who="owner@desk", why="a digit too few", payload=payload)


async def drop(stage: Stage) -> None:
    """A letter, let go."""
    await stage.own.letters.drop(await letter(stage), who="owner@desk", why="noise")


def added(stage: Stage) -> Path:
    """A file that no command has written."""
    stage.notes["files"] = stage.notes.get("files", 0) + 1
    return stage.folder / f"new-{stage.notes['files']}"


def password(stage: Stage, text: str) -> Path:
    """A file with a password."""
    path = added(stage)
    path.write_text(text, encoding="utf-8")
    return path


async def log_in(stage: Stage, secret: str = SECRET) -> None:
    """Eve, by her password."""
    answer = await stage.http.post("/api/v1/login", json={**login_body("acme", "eve"), "password": secret})
    assert answer.is_success == (secret == SECRET)


async def log_out(stage: Stage) -> None:
    """As the console does."""
    assert (await stage.http.delete("/api/v1/session")).is_success


async def join(stage: Stage) -> None:
    """A box, with a join file."""
    file = stage.site.operator.join_file("acme", "boxed")
    await stage.site.taken()
    await stage.site.join(msgspec.structs.replace(file, hub_url=f"nats://127.0.0.1:{stage.site.leaf_port}"))


async def write(stage: Stage) -> None:
    """A tag, through an edge that is none: what is asked for is told where it is asked."""
    tag = "acme/east/press:set"
    await stage.own.publish(tag, 3)
    assert stage.site.hub.tenants is not None

    async def answer(payload: bytes) -> object:
        if not payload:
            return {"writable": [{"tag": tag, "interval_s": 1.0}]}
        return {"id": json.loads(payload)["id"], "state": "done", "time_ns": 1}

    creds = Credentials(creds_file=stage.site.hub.tenants.creds_dir / "acme.creds")
    asked = {"write": ("millstream.node.east.write", answer)}
    url = stage.site.hub.server.url
    async with node_service(url, creds, name="millstream-edge", version="0.1", endpoints={}, asked=asked):
        with patch.object(_writes, "BEFORE_S_MAX", 30.0):  # on a busy machine it may take longer, and is not told then
            await stage.own.write(tag, 4, who="owner@desk")


async def publish_contract(stage: Stage, description: str) -> None:
    """A version of one."""
    await stage.own.publish_contract(Contract("speeds", "tag", ("acme/**:speed",), description=description))


async def context(stage: Stage, cycle_s: float) -> None:
    """A product."""
    fact = Fact("acme/east:product/bolt", "product", {"ideal_cycle_s": cycle_s})
    assert await stage.own.context.put([fact], who="owner@desk") == 1


async def alarm(stage: Stage, action: Action, shelf: str | None = None) -> None:
    """One of a flow that runs at the hub, as its records say."""
    subject = encode_subject(UnsAddress(AssetPath(("acme",)), "_ledger", ("h1", "flow-hot-1-0")))
    async with hub_client(stage.site, "acme") as hub:
        await hub.jetstream().publish(subject, b"{}")
    row = AlarmRow("acme/east/press:hot", 1, "hot", AlarmNote("raised", "unack", "high", 1))
    await stage.own.alarms.ask(row, action, who="owner@desk", why="seen", shelf=shelf)


async def stop(stage: Stage, action: StopAction, **said: str) -> None:
    """Of a machine that has stood still."""
    path, told = "acme/east/press:downtime", {"duration_s": 60.0, "reason": "", "category": ""}
    times = {"start": "2026-10-01T10:00:00Z", "end": "2026-10-01T10:01:00Z"}
    await stage.own.event(path, STOP_TYPE, {**told, **times})
    at = datetime(2026, 10, 1, 10, 0, 30, tzinfo=UTC)
    await stage.own.downtime.ask(path, action, at, who="owner@desk", **said)


ACTS: dict[str, Act] = {
    "tenant add": Act(
        lambda s: s.cli(_trust.add_tenant, "beta"), "operator.tenant_added", None, {"place": "beta"}, at_provider=True
    ),
    "tenant limits": Act(
        lambda s: s.cli(_limits.limits, "acme", sites=7), "operator.limits_changed", {"limits": {"sites": 500}},
        {"limits": {"sites": 7}},
    ),
    "tenant rekey": Act(
        lambda s: s.cli(_rekey.rekey, "acme", key=["bridge"]), "operator.tenant_rekeyed", {"bridge": ANY_KEY},
        {"bridge": ANY_KEY},
    ),
    "operator hub": Act(
        lambda s: s.cli(_trust.change_hub, hub_urls=["nats://127.0.0.1:1"]), "operator.hub_changed",
        {"more_urls": []}, {"hub_url": "nats://127.0.0.1:1"}, at_provider=True,
    ),
    "operator export": Act(
        lambda s: s.cli(_trust.export, added(s), remove_identities=True), "operator.identities_removed",
        {"has_identities": True}, {"has_identities": False}, at_provider=True,
    ),
    "site add": Act(
        lambda s: s.cli(_trust.add_site, "west", tenant="acme", out=added(s)), "operator.site_added", None,
        {"place": "acme/west", "join_files": 1},
    ),
    "site revoke": Act(
        lambda s: s.cli(_lock_out.revoke_site, "west", tenant="acme", url=s.site.hub.server.url),
        "operator.site_revoked", {"is_locked_out": False}, {"is_locked_out": True},
    ),
    "site restore": Act(
        lambda s: s.cli(_lock_out.restore_site, "west", tenant="acme", url=s.site.hub.server.url),
        "operator.site_restored", {"is_locked_out": True}, {"is_locked_out": False},
    ),
    "user add": Act(
        lambda s: s.cli(_trust.add_user, "bob", tenant="acme", role="viewer", out=added(s)), "operator.user_added",
        None, {"role": "viewer", "is_locked_out": False},
    ),
    "user revoke": Act(
        lambda s: s.cli(_lock_out.revoke_user, "bob", tenant="acme"), "operator.user_revoked",
        {"role": "viewer", "is_locked_out": False}, {"is_locked_out": True},
    ),
    "user restore": Act(
        lambda s: s.cli(_lock_out.restore_user, "bob", tenant="acme"), "operator.user_restored",
        {"is_locked_out": True}, {"is_locked_out": False},
    ),
    "login add": Act(
        lambda s: s.login(_login.add, "eve", role="viewer", password_file=password(s, SECRET)), "login_user.added",
        None, {"role": "viewer", "second_factor": False},
    ),
    "a wrong password": Act(lambda s: log_in(s, "guess"), "session.refused", None, None, who="eve"),
    "a log-in": Act(log_in, "session.opened", None, {"role": "viewer", "via": "password"}, who="eve"),
    "a log-out": Act(log_out, "session.closed", {"role": "viewer"}, None, who="eve"),
    "login role": Act(
        lambda s: s.login(_login.role, "eve", "engineer", paths=["acme/east"]), "login_user.changed",
        {"role": "viewer", "paths": []}, {"role": "engineer", "paths": ["acme/east"]},
    ),
    "login password": Act(
        lambda s: s.login(_login.password, "eve", password_file=password(s, SECRET + "!")), "login_user.changed",
        {"role": "engineer"}, {"role": "engineer"},
    ),
    "login second-factor": Act(
        lambda s: s.login(_login.second_factor, "eve"), "login_user.changed", {"second_factor": False},
        {"second_factor": True},
    ),
    "login remove": Act(
        lambda s: s.login(_login.remove, "eve"), "login_user.removed", {"role": "engineer", "second_factor": True}, None
    ),
    "config put": Act(
        lambda s: put(s, s.ann, "70MiB", 0), "config.put", None,
        {"revision": 1, "values": {"streams.integrity.max_bytes": '"70MiB"'}}, who="ann",
    ),
    "config edit": Act(  # what it stores, it puts; here by the hub's own rights
        lambda s: put(s, s.own, "75MiB", 1), "config.put",
        {"revision": 1, "values": {"streams.integrity.max_bytes": '"70MiB"'}},
        {"revision": 2, "values": {"streams.integrity.max_bytes": '"75MiB"'}}, who="owner",
    ),
    "config apply": Act(apply, "config.put", {"revision": 2}, {"revision": 3}, who="owner"),
    "config rollback": Act(
        lambda s: s.ann.configs.rollback("east", 1), "config.put",
        {"revision": 3, "values": {"streams.integrity.max_bytes": '"80MiB"'}},
        {"revision": 4, "values": {"streams.integrity.max_bytes": '"70MiB"'}}, who="ann",
    ),
    "config rollout start": Act(start, "rollout.started", None, {"state": "running", "sites_count": 1}, who="ann"),
    "config rollout stop": Act(
        lambda s: s.ann.configs.rollouts.stop("first"), "rollout.stopped", {"state": "running"}, {"state": "stopped"},
        who="ann",
    ),
    "config rollout resume": Act(
        lambda s: s.ann.configs.rollouts.resume("first"), "rollout.resumed", {"state": "stopped"},
        {"state": "running"}, who="ann",
    ),
    "config rollout rollback": Act(  # which cancels it first
        lambda s: s.own.configs.rollouts.cancel("first", author="owner"), "rollout.cancelled", {"state": "running"},
        {"state": "cancelled"}, who="owner",
    ),
    "code push": Act(push, "module.pushed", None, {"file": "odd.wasm", "authors": ["ann"]}, who="ann"),
    "code remove": Act(
        lambda s: s.ann.configs.code.remove(s.notes["module"]), "module.removed", {"authors": ["ann"]}, None, who="ann"
    ),
    "flow pause": Act(
        lambda s: s.ann.ask_flow("calm", "pause", who="ann"), "flow.paused", {"is_paused": False}, {"is_paused": True},
        who="ann",
    ),
    "flow resume": Act(
        lambda s: s.own.ask_flow("calm", "resume", who="owner@desk"), "flow.resumed", {"is_paused": True},
        {"is_paused": False}, who="owner@desk",
    ),
    "flow replay": Act(
        lambda s: s.ann.ask_flow("calm", "replay", who="ann"), "flow.replayed", {"version": 1}, {"version": 2},
        who="ann",
    ),
    "deadletter replay": Act(
        repair, "dead_letter.replayed", {"path": "acme/east:n", "bytes": 1}, {"path": "acme/east:n", "is_kept": False},
        who="owner@desk",
    ),
    "deadletter drop": Act(drop, "dead_letter.dropped", {"bytes": 1}, None, who="owner@desk"),
    "join": Act(join, "join.done", None, {"place": "acme/boxed"}, who="join file of boxed"),
    "write": Act(write, "write.asked", {"value": 3}, {"value": 4}, who="owner@desk"),
    "contract publish": Act(lambda s: publish_contract(s, "one"), "contract.put", None, {"version": 1}),
    "contract publish, again": Act(
        lambda s: publish_contract(s, "two"), "contract.put", {"version": 1, "description": "one"},
        {"version": 2, "description": "two"},
    ),
    "context import": Act(
        lambda s: context(s, 2.0), "context.asked", {"acme/east:product/bolt": None},
        {"acme/east:product/bolt": {"ideal_cycle_s": 2.0}}, who="owner@desk",
    ),
    "context import, again": Act(
        lambda s: context(s, 3.0), "context.asked", {"acme/east:product/bolt": {"ideal_cycle_s": 2.0}},
        {"acme/east:product/bolt": {"ideal_cycle_s": 3.0}}, who="owner@desk",
    ),
    "alarm ack": Act(
        lambda s: alarm(s, "acknowledge"), "alarm.asked", {"state": "unack"}, {"action": "acknowledge"},
        who="owner@desk",
    ),
    "alarm shelve": Act(
        lambda s: alarm(s, "shelve", "1h"), "alarm.asked", {"state": "unack"}, {"action": "shelve"}, who="owner@desk"
    ),
    "downtime reason": Act(
        lambda s: stop(s, "reason", reason="jam"), "downtime.asked", {"duration_s": 60.0, "reason": ""},
        {"action": "reason", "reason": "jam"}, who="owner@desk",
    ),
    "downtime split": Act(
        lambda s: stop(s, "split"), "downtime.asked", {"duration_s": 60.0}, {"action": "split"}, who="owner@desk"
    ),
    "quality say": Act(
        lambda s: s.own.quality.say("acme/east/press:quality", 3, "scrap", who="owner@desk"), "quality.asked", None,
        {"count": 3.0, "kind": "scrap"}, who="owner@desk",
    ),
    "command send": Act(send, "command.requested", None, {"state": "pending", "args": {"depth": 1}}, who="cora"),
    "command cancel": Act(
        lambda s: s.cora.commands.cancel(s.notes["command"], who="cora"), "command.cancel_requested",
        {"state": "pending", "cancel_who": None}, {"cancel_who": "cora"}, who="cora",
    ),
}  # fmt: skip
LOOKING = frozenset(
    {
        "check",
        "pareto",
        "oee",
        "why",
        "list",
        "show",
        "status",
        "history",
        "get",
        "diff",
        "blame",
        "plan",
        "fetch",
        "lag",
        "score",
    }
)
ELSEWHERE = {
    "operator init": "there is no hub yet, and so no audit",
    "flow reset": "only of a flow that has lost its state: told by the same lines as replay, and proven by its unit",
    "flow run": "an instance of a flow, which takes no decision",
    "flow test": "runs on a file",
    "evaluate": "runs on a recording",
    "model train": "makes a file; `code push` brings it to the hub",
    "notify": "sends what flows have told; who is told is the flow's event",
    "erp run": "a program: what it takes in is told as `context import` is",
    "code release": "makes a file; `code push` brings it to the hub",
}
ONE_FOR_ALL = {
    "alarm reset": "alarm ack", "alarm unshelve": "alarm ack", "alarm remove": "alarm ack",
    "alarm restore": "alarm ack", "alarm comment": "alarm ack", "downtime merge": "downtime reason",
    "quality correct": "quality say",
}  # fmt: skip
"""Commands that go the same way with another word."""
GROUPS = ("Configuration of sites, from the hub", "Flows", "Fleet", "Trust", "Contracts", "Alarms", "Shop floor")


def test_each_command_that_changes_something_is_in_the_table() -> None:
    alone = ("deadletter drop", "deadletter replay", "join", "write")
    names = [one.name for one in COMMANDS if one.group in GROUPS or one.name in alone]
    missing = [
        name for name in names
        if ONE_FOR_ALL.get(name, name) not in ACTS and name not in ELSEWHERE and name.split()[-1] not in LOOKING
        and not name.startswith(("fleet ", "tls "))  # questions; files of the machine
    ]  # fmt: skip
    assert missing == []


async def events_of(site: Site, what: str, *, at_provider: bool) -> list[dict[str, Any]]:
    """All of one kind, the oldest first."""
    family = "millstream" if what.startswith("command.") else "millstream.audit"
    subject = f"audit.{what}" if at_provider else f"_event.{family}.{what}"
    found = await (site.stored("provider", "P_AUDIT") if at_provider else site.stored("acme", "H_INTEGRITY"))
    return [json.loads(one.payload) for one in found if one.subject.endswith(subject)]


def holds(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there."""
    if wanted == ANY_KEY:
        return isinstance(found, str) and found.startswith("A") and len(found) == 56
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(name in found and holds(found[name], wanted[name]) for name in wanted)
    return bool(found == wanted)


async def test_each_act_is_told_with_who_from_where_before_and_after(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with AsyncExitStack() as stack:
        tenants = {"tenants": {"acme": {"flows": [FLOW]}}}
        people = await stack.enter_async_context(login_site(tmp_path, "acme", more=tenants))
        site = people.site
        site.operator.join_file("acme", "east")
        creds = {name: site.operator.user("acme", name, role) for name, role in
                 (("ann", "engineer"), ("cora", "commander"))}  # type: ignore[arg-type] # fmt: skip
        await site.taken()
        stage = Stage(
            people, tmp_path, await stack.enter_async_context(site.plant("acme")),
            await stack.enter_async_context(seen_by(site, creds["ann"], Signer.of(creds["ann"]))),
            await stack.enter_async_context(seen_by(site, creds["cora"])), KeysInMemory(site.operator),
            await stack.enter_async_context(people.http()),
        )  # fmt: skip
        counts: dict[tuple[str, bool], int] = {}
        for name, act in ACTS.items():
            kind = (act.event, act.at_provider)
            if kind not in counts:  # what was done before the first of its kind
                counts[kind] = len(await events_of(site, act.event, at_provider=act.at_provider))
            counts[kind] += 1
            await act.do(stage)
            found = SimpleNamespace(events=[])

            async def is_told(act: Act = act, found: Any = found, count: int = counts[kind]) -> bool:
                found.events = await events_of(site, act.event, at_provider=act.at_provider)
                return len(found.events) == count

            await until(is_told, f"{name}: {act.event}")
            event = found.events[-1]
            assert event["who"], name
            assert act.who in ("", event["who"]), name
            assert event["from"], f"{name} is not told from where: {event}"
            assert act.who not in ("ann", "cora") or event["from"] == "127.0.0.1", f"{name}: {event['from']}"
            for when, wanted in (("before", act.before), ("after", act.after)):
                assert when in event, f"{name} is told without {when}"
                assert (event[when] is None) == (wanted is None), f"{name}: {when} is {event[when]}"
                assert holds(event[when], wanted), f"{name}: {when} is {event[when]}"
            assert SECRET not in json.dumps(event)
            capfd.readouterr()

"""How soon an act of the operator takes effect at a hub of many tenants: locking out, letting in, and signing.

    python -m bench trust [--json] [--short]

A hub of 100 tenants, with a real edge of one of them. Each figure begins before the operator's file is signed and ends
with what the one who is concerned notices: his connection is cut, or he is let in.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from bench._nodes import Meter, Rig, open_rig, poll
from bench._report import Row, digest, finish, parser
from bench.trust._login import Login
from millstream.bus import write_private
from millstream.client import joined_keys
from millstream.edge import JoinedEdge, join_hub
from millstream.kernel import AuthError
from millstream.rig import Child
from millstream.trust import (
    FORMAT,
    JoinFile,
    Limits,
    Tenant,
    Trust,
    add_site,
    add_tenant,
    add_user,
    make_bundle,
    make_trust,
    restore_site,
    restore_user,
    revoke_site,
    revoke_user,
)

TENANTS, SHORT_TENANTS = 100, 2
ROUNDS, SHORT_ROUNDS = 10, 1
SECONDS_MAX = 1.0
READY_S = 600.0
ASK_S = 0.05  # each refused log-in is work for the hub
NAME = "t0"


def main(argv: list[str]) -> int:
    """Run all rows; exit status 1 when a target is missed (never with --short)."""
    chosen = parser("trust", __doc__ or "").parse_args(argv)
    sizes = (SHORT_TENANTS, SHORT_ROUNDS) if chosen.short else (TENANTS, ROUNDS)
    rows = asyncio.run(_rows(*sizes))
    if chosen.short:
        for row in rows:
            row.is_met = True
    return finish("trust", argv, rows, chosen)


def now_s() -> int:
    """Unix seconds, as tokens have them."""
    return int(time.time())


class Operator:
    """The operator's state and its file."""

    def __init__(self, folder: Path, tenants: int) -> None:
        self.file = folder / "hub.trust"
        self.trust: Trust = make_trust("op", "nats://127.0.0.1:1", now_s())
        for number in range(tenants):
            add_tenant(self.trust, f"t{number}", None, Limits(disk_bytes=64 << 20), now_s())
        self.sign()

    @property
    def tenant(self) -> Tenant:
        """The one whose people and sites are locked out."""
        return self.trust.tenants[NAME]

    def sign(self) -> None:
        """Write the hub's file, as the commands do."""
        self.trust.serial += 1
        before = self.file.read_text(encoding="ascii") if self.file.exists() else None
        write_private(self.file, make_bundle(self.trust, now_s(), before))


async def _rows(tenants: int, rounds: int) -> list[Row]:
    async with open_rig() as rig:
        operator = Operator(rig.folder, tenants)
        rows = [_signing(operator, rounds)]
        child, hub = await _start_hub(rig, operator)
        _, creds = add_user(operator.tenant, "ann", "viewer", None, now_s())
        user = rig.folder / "ann.creds"
        write_private(user, creds)
        rows += await _user_rows(operator, int(str(hub["nats_url"]).rpartition(":")[2]), user, rounds)
        rows += await _site_rows(rig, operator, hub, rounds)
        rows.append(await _rest_row(child.process.pid, tenants, rounds))
    return rows


async def _rest_row(pid: int, tenants: int, seconds: int) -> Row:
    """Nobody acts, and no tenant has data."""
    meter = Meter(pid)
    before = meter.cpu_s()
    await asyncio.sleep(seconds)
    shares = [100 * (after - b) / seconds for after, b in zip(meter.cpu_s(), before, strict=True)]
    node_mb, server_mb = meter.rss_mb()
    figure = f"{sum(shares):.0f} % of one core, {node_mb + server_mb:.0f} MB"
    note = (
        f"{tenants} tenants; hub {shares[0]:.0f} %, {node_mb:.0f} MB, its server {shares[1]:.0f} %, {server_mb:.0f} MB"
    )
    return Row("hub at rest", figure, note=note, result_hash=digest([tenants]))


def _signing(operator: Operator, rounds: int) -> Row:
    """Milliseconds of one act's signing."""
    times = []
    for _ in range(rounds):
        begun_ns = time.perf_counter_ns()
        operator.sign()
        times.append((time.perf_counter_ns() - begun_ns) / 1e6)
    size = operator.file.stat().st_size
    count = len(operator.trust.tenants)
    note = f"{count} tenants, a file of {size / 1e6:.1f} MB; the tokens of the others stay as they are"
    return Row("one act, signed", f"{min(times):.0f} ms", note=note, result_hash=digest([count]))


async def _start_hub(rig: Rig, operator: Operator) -> tuple[Child, Mapping[str, Any]]:
    document = {
        "hub": {"name": "h1", "data_dir": str(rig.folder / "hub")}, "streams": {"max_bytes": "16MiB"},
        "trust": {"file": str(operator.file)}, "historian": None,
    }  # fmt: skip
    child, hub = await rig.start_node("hub", document)
    operator.trust.hub_url = f"nats://127.0.0.1:{hub['leaf_port']}"
    return child, hub


async def _user_rows(operator: Operator, port: int, creds: Path, rounds: int) -> list[Row]:
    """A client that is connected."""
    operator.sign()
    login = await _let_in(port, creds)
    cuts, returns = [], []
    for _ in range(rounds):
        cuts.append(await _timed(lambda: revoke_user(operator.tenant, "ann", now_s()), operator, login.cut))
        await login.close()
        found: list[Login] = []

        async def enter(found: list[Login] = found) -> None:
            found.append(await _let_in(port, creds))

        returns.append(await _timed(lambda: restore_user(operator.tenant, "ann"), operator, enter))
        login = found[0]
    await login.close()
    return [_row("user revoke: connection cut", cuts), _row("user restore: let in", returns)]


async def _site_rows(rig: Rig, operator: Operator, hub: Mapping[str, Any], rounds: int) -> list[Row]:
    """A real edge whose leaf is up; what is let in is its key, asked for at once, for an edge dials at its own pace."""
    site, creds = add_site(operator.tenant, "plant1", None, {}, now_s() + 3600, now_s())
    operator.sign()
    file = JoinFile(
        format=FORMAT, tenant=NAME, site="plant1", place=site.place, hub_url=operator.trust.hub_url,
        operator_public=operator.trust.operator_public, plant_public=operator.tenant.plant_public, creds=creds,
        expires_s=now_s() + 3600,
    )  # fmt: skip
    joined = await _join(file, rig.folder / "edge")
    keys = await joined_keys(operator.trust, operator.tenant, site, str(hub["nats_url"]))
    _, edge = await rig.start_node("edge", {
        "edge": {"name": "plant1", "path": site.place, "data_dir": str(rig.folder / "edge")},
        "uplink": {"url": file.hub_url, "credentials": str(joined.creds_file)},
        "streams": {"integrity": {"max_bytes": "64MiB"}},
    })  # fmt: skip
    server = Leafs(int(hub["monitor_port"]))
    cuts, returns = [], []
    for _ in range(rounds):
        await poll(server.is_up, timeout_s=READY_S, what="the edge's leaf")
        cuts.append(await _timed(lambda: revoke_site(operator.tenant, "plant1", keys, now_s()), operator, server.gone))

        async def enter() -> None:
            login = await _let_in(int(hub["leaf_port"]), joined.creds_file)
            await login.close()

        returns.append(await _timed(lambda: restore_site(operator.tenant, "plant1", keys), operator, enter))
    await poll(server.is_up, timeout_s=READY_S, what="the edge's leaf")
    assert edge["role"] == "edge"
    return [_row("site revoke: its leaf cut", cuts), _row("site restore: let in", returns)]


async def _join(file: JoinFile, folder: Path) -> JoinedEdge:
    """Ask until the hub has read that there is such a file."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                return await join_hub(file, folder, patience_s=READY_S)
            except AuthError:
                await asyncio.sleep(ASK_S)


class Leafs:
    """The leafs that a hub's server has, by its monitoring port."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def is_up(self) -> bool:
        """Whether there is one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /leafz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return b'"leafs": []' not in answer and b'"account"' in answer

    async def gone(self) -> None:
        """Return when there is none."""
        while await self.is_up():
            await asyncio.sleep(ASK_S)


async def _let_in(port: int, creds: Path) -> Login:
    """Ask until the server lets these credentials in."""
    async with asyncio.timeout(READY_S):
        while (login := await Login.open(port, creds)) is None:
            await asyncio.sleep(ASK_S)
    return login


async def _timed(act: Callable[[], object], operator: Operator, seen: Callable[[], Awaitable[None]]) -> float:
    """Seconds from an act to what is seen of it."""
    begun_ns = time.perf_counter_ns()
    act()
    await asyncio.to_thread(operator.sign)
    async with asyncio.timeout(READY_S):
        await seen()
    return (time.perf_counter_ns() - begun_ns) / 1e9


def _row(measure: str, times_s: list[float]) -> Row:
    """The worst of all rounds is what is judged: somebody is locked out within a second, and not only mostly."""
    worst = max(times_s)
    note = (
        f"the worst of {len(times_s)}; {min(times_s):.2f} s at best, {statistics.median(times_s):.2f} s in the middle"
    )
    target = f"below {SECONDS_MAX:g} s"
    return Row(measure, f"{worst:.2f} s", target, None, worst < SECONDS_MAX, note, digest([len(times_s)]))

"""Many sites on one hub: a live query of all, a configuration to all, memory a site, and all of them dialling at once.

    python -m bench fleet [--json] [--short] [--sites 200]
    python -m bench fleet --raw 4 [--json] [--short]
    python -m bench fleet --update [--json]

Each site is real: an edge of its own with its own nats-server (told that its box has one core), JetStream store and
leaf link, which stores a value each five seconds, synced. What is simulated: 25 edges share a process, all stand on one
machine beside the hub, and the links are loopback.

With `--raw` only this: a minute of one and of eight channels at 1 kHz, asked of so many sites at once. It is kept as
`fleet-raw`. With `--update` only how long a site does not collect while another version is started at it, kept as
`fleet-update`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import statistics
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from bench._nodes import Meter, Rig, open_rig, poll
from bench._report import Row, digest, finish, parser
from bench.fleet._plant import connector, hub_document, site_name, write_recording
from bench.fleet._raw import raw_rows
from bench.fleet._update import update_rows
from millstream.client import Ledger, Plant, connect
from millstream.config import load_folder
from millstream.rig import Child, write_document

SITES_A_PROCESS = 25
QUERIES = 20
QUERY_S_MAX, CONFIG_S_MAX, STORM_S_MAX = 1.0, 10.0, 30.0
START_S_MAX = 900.0
REST_S = 20.0
SETTLE_S = 7.0  # a site that tells of its change waits five seconds for data to be stored with it
LOOK_S = 0.5  # at each site's newest value


class Spending:
    """Processor time from its making on, for one site."""

    def __init__(self, edges: list[Meter], hub: Meter, sites: int) -> None:
        self._edges, self._hub, self._sites = edges, hub, sites
        self._begun_s, self._before_s = time.monotonic(), self._now_s()

    def _now_s(self) -> list[float]:
        return [sum(each) for each in zip(*(meter.cpu_s() for meter in self._edges), strict=True)] + [
            sum(self._hub.cpu_s())
        ]

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._begun_s

    def each_ms(self) -> tuple[float, ...]:
        """Of its edge, of its server, of the hub and its server."""
        scale = 1e3 / self._sites
        return tuple(scale * (now - then) for now, then in zip(self._now_s(), self._before_s, strict=True))


@dataclass
class Fleet:
    """A hub, its sites, and how many of them there are."""

    rig: Rig
    sites: int
    hub: Child
    node: Mapping[str, Any]

    @property
    def meter(self) -> Meter:
        """Of the hub's process and of its server."""
        return Meter(self.hub.process.pid)

    def spending(self) -> Spending:
        """From now on."""
        edges = [Meter(child.process.pid) for child in self.rig.children if child is not self.hub]
        return Spending(edges, self.meter, self.sites)

    async def rest_ms_s(self, seconds: float) -> tuple[float, ...]:
        """Processor time for one site at rest, ms a second: of its edge, of its server, of the hub and its server."""
        spending = self.spending()
        await asyncio.sleep(seconds)
        return tuple(spent_ms / spending.seconds for spent_ms in spending.each_ms())

    def leafs(self) -> int:
        """Connected now; 0 while the server does not answer."""
        try:
            url = f"http://127.0.0.1:{self.node['monitor_port']}/leafz"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(json.load(answer).get("leafnodes", 0))
        except OSError:
            return 0


def main(argv: list[str]) -> int:
    """Run and print; exit status 1 when a target is missed."""
    options = parser("fleet", __doc__ or "")
    options.add_argument("--sites", type=int, default=200)
    options.add_argument("--raw", type=int, default=0, help="only this: raw waveforms of so many sites")
    options.add_argument("--update", action="store_true", help="only this: the gap in collecting at an update")
    chosen = options.parse_args(argv)
    if chosen.update:
        return finish("fleet-update", argv, asyncio.run(update_rows()), chosen, scenario="fleet")
    if chosen.raw:
        rows = asyncio.run(raw_rows(chosen.raw, is_short=chosen.short))
        return finish("fleet-raw", argv, rows, chosen, scenario="fleet")
    rows = asyncio.run(run(2 if chosen.short else chosen.sites, is_short=chosen.short))
    return finish("fleet", argv, rows, chosen)


async def run(sites: int, *, is_short: bool) -> list[Row]:
    """All measures on one fleet."""
    async with open_rig() as rig:
        _tell("a hub")
        fleet = await _start_hub(rig, sites)
        _tell(f"{sites} sites")
        before = fleet.meter.rss_mb()
        started_s = time.monotonic()
        await _start_sites(fleet)
        start_s = time.monotonic() - started_s
        async with connect(node=rig.folder / "hub") as plant:
            await poll(lambda: _all_answer(plant, sites), timeout_s=START_S_MAX, what="an answer of every site")
            after = fleet.meter.rss_mb()
            _tell("at rest")
            rest = await fleet.rest_ms_s(1.0 if is_short else REST_S)
            _tell("queries")
            spending = fleet.spending()
            queries = [await _query_s(plant, sites) for _ in range(QUERIES)]
            pairs = zip(spending.each_ms(), rest, strict=True)
            query_ms = tuple((spent - at_rest * spending.seconds) / QUERIES for spent, at_rest in pairs)
            _tell("a configuration to all")
            change_s, change_ms = await _change(fleet, plant, rest, settle_s=0.5 if is_short else SETTLE_S)
        _tell("the hub's server is killed")
        storm = await _storm(fleet)
        async with connect(node=rig.folder / "hub") as plant:
            ledger = await plant.ledger(recounted=True)
            _tell("recounted")
        rows = _rows(sites, (before, after), start_s, queries, change_s, storm, ledger, is_short=is_short)
        edge, server, hub = query_ms
        rows[1].note = (
            f"processor for each site and query: its edge {edge:.2f} ms, its nats-server {server:.2f}, the hub and its "
            f"server {hub:.2f}; beside what rest takes"
        )
        return [_rest_row(rest, rows[0].result_hash), _change_row(change_ms, rows[0].result_hash), *rows]


def _tell(step: str) -> None:
    """Progress, where no figure goes."""
    print(f"bench fleet: {step} ...", file=sys.stderr, flush=True)


async def _start_hub(rig: Rig, sites: int) -> Fleet:
    document = hub_document(rig.folder, sites)
    write_recording(rig.folder)
    hub, node = await rig.start_node("hub", document)
    return Fleet(rig, sites, hub, node)


async def _start_sites(fleet: Fleet) -> None:
    """One process after the other, each when the one before is up."""
    for first in range(0, fleet.sites, SITES_A_PROCESS):
        count = min(SITES_A_PROCESS, fleet.sites - first)
        arguments = [str(fleet.rig.folder), str(fleet.node["leaf_port"]), str(first), str(count)]
        child = await fleet.rig.start(f"sites-{first}", ["bench.fleet._sites", *arguments])
        await child.wait_ready(timeout_s=START_S_MAX)

    async def are_linked() -> bool:
        return fleet.leafs() == fleet.sites

    await poll(are_linked, timeout_s=START_S_MAX, what="a leaf link of every site")


async def _all_answer(plant: Plant, sites: int) -> bool:
    return len((await plant.fleet.query('connectors.press.state == "ok"', deadline=5.0).all()).nodes) == sites


async def _query_s(plant: Plant, sites: int) -> float:
    """Until the last answer of a filter that fits every site."""
    begun_s = time.monotonic()
    query = plant.fleet.query('connectors.press.state == "ok"', select=["name", "link"], deadline=10.0)
    count, last_s = 0, math.inf
    async for _ in query:
        count += 1
        last_s = time.monotonic() - begun_s
    return last_s if count == sites else math.inf


async def _change(
    fleet: Fleet, plant: Plant, rest: tuple[float, ...], *, settle_s: float
) -> tuple[float, tuple[float, ...]]:  # fmt: skip
    """From the start of a roll-out to all at once until every site reports that it runs the new configuration; and the
    processor time that a site took for it, beside what it takes at rest: all of it is spent `settle_s` later."""
    folder = fleet.rig.folder / "git"
    (folder / "sites").mkdir(parents=True)
    for name in (site_name(number) for number in range(fleet.sites)):
        (folder / "sites" / f"{name}.yaml").write_text("{}\n", encoding="utf-8")
    took_s, spent_ms = math.inf, rest
    for number, pause in enumerate(("20s", "30s")):  # the first is each site's first revision; the second is measured
        document = {"connectors": [connector(fleet.rig.folder, pause)]}
        write_document(folder / "base.yaml", document)
        plans = await plant.configs.plan(load_folder(folder))
        begun_s, spending = time.monotonic(), fleet.spending()
        await plant.configs.rollouts.start(plans, name=f"r{number}")
        await poll(lambda name=f"r{number}": _is_done(plant, name), timeout_s=300, what="the roll-out's end")  # type: ignore[misc]
        took_s = time.monotonic() - begun_s
        if (await plant.configs.rollouts.get(f"r{number}")).counts() != {"healthy": fleet.sites}:
            return math.inf, rest
        await asyncio.sleep(settle_s)
        pairs = zip(spending.each_ms(), rest, strict=True)
        spent_ms = tuple(spent - at_rest * spending.seconds for spent, at_rest in pairs)
    return took_s, spent_ms


async def _is_done(plant: Plant, name: str) -> bool:
    return (await plant.configs.rollouts.get(name)).state in ("done", "stopped")


async def _storm(fleet: Fleet) -> tuple[float, float]:
    """Kill the hub's server: seconds from its new start until every leaf link stands again, and until every site's
    newest value is at the hub."""
    (server,) = [c for c in psutil.Process(fleet.hub.process.pid).children(recursive=True) if "nats-server" in c.name()]
    os.kill(server.pid, signal.SIGKILL)
    killed_s, killed_ns = time.monotonic(), time.time_ns()

    async def are_linked() -> bool:
        return fleet.leafs() == fleet.sites

    await poll(are_linked, timeout_s=300, what="the leaf links")
    linked_s = time.monotonic() - killed_s
    async with connect(node=fleet.rig.folder / "hub") as plant:

        async def are_level() -> bool:
            newest = await plant.last("acme")
            return sum(reading.time.timestamp() * 1e9 > killed_ns for reading in newest) == fleet.sites

        await poll(are_level, timeout_s=300, what="a new value of every site", every_s=LOOK_S)
    return linked_s, time.monotonic() - killed_s


def _rest_row(rest: tuple[float, ...], result_hash: str) -> Row:
    edge, server, hub = rest
    figure = f"{sum(rest) / 10:.2f} % of a core"
    note = f"its edge {edge / 10:.2f}, its nats-server {server / 10:.2f}, the hub and its server {hub / 10:.2f}"
    return Row("a site that stores a value each 5 s", figure, note=note, result_hash=result_hash)


def _change_row(change_ms: tuple[float, ...], result_hash: str) -> Row:
    edge, server, hub = change_ms
    note = (
        f"its edge {edge:.0f}, its nats-server {server:.0f}, the hub and its server {hub:.0f}; beside what rest takes"
    )
    return Row(
        "a configuration to a site that takes it", f"{sum(change_ms):.0f} ms of a core", note=note,
        result_hash=result_hash,
    )  # fmt: skip


def _rows(
    sites: int, memory: Any, start_s: float, queries: list[float], change_s: float, storm: tuple[float, float],
    ledger: Ledger, *, is_short: bool,
) -> list[Row]:  # fmt: skip
    before_mb, after_mb = (sum(each) for each in memory)
    accounts = ledger.accounts.values()
    lost, doubled = sum(a.gaps for a in accounts), sum(a.repeats + a.surplus for a in accounts)
    query_ms = f"median {statistics.median(queries) * 1e3:.0f} ms, worst {max(queries) * 1e3:.0f} ms"
    rows = [
        Row(f"{sites} sites started one after the other", f"{start_s:.0f} s", note="by this machine's cores"),
        Row(
            "live query of all, to the last answer", query_ms, f"under {QUERY_S_MAX:g} s",
            is_met=is_short or max(queries) < QUERY_S_MAX,
        ),
        Row(
            "a configuration to all, applied and reported", f"{change_s:.1f} s", f"under {CONFIG_S_MAX:g} s",
            is_met=is_short or change_s < CONFIG_S_MAX,
        ),
        Row(
            "memory of the hub for a connected site", f"{(after_mb - before_mb) / sites:.2f} MB",
            note=f"{after_mb:.0f} MB in all, of hub and server",
        ),
        Row(
            "all dial again after a killed server", f"linked in {storm[0]:.1f} s, level in {storm[1]:.1f} s",
            f"under {STORM_S_MAX:g} s, nothing lost", note=f"lost {lost}, doubled {doubled}",
            is_met=(is_short or storm[1] < STORM_S_MAX) and ledger.is_clean and len(accounts) >= sites,
        ),
    ]  # fmt: skip
    for row in rows:
        row.result_hash = digest([sites, lost, doubled, ledger.is_clean])
    return rows

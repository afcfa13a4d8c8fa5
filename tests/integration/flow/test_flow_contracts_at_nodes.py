"""A flow at a real edge whose outputs break a published contract, while its worker and its server are killed."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from flow_site import FLOW, client_of, edge_of, flow_status, kill_now, outputs, rows_of, until, write_site

import millstream
from millstream.bus import StreamApi, StreamReader
from millstream.client import Contract
from millstream.edge import EdgeNode
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import decode_sample

ROWS = 400
NO_TENS = {"type": "integer", "enum": [n for n in range(ROWS + 1) if n % 10]}


async def letters(edge: EdgeNode) -> list[tuple[dict[str, str], object]]:
    """Headers and value of all dead letters."""
    async with client_of(edge.server) as connection:
        last_seq = (await StreamApi(connection).state("E_e1_DLQ")).last_seq
        found: list[tuple[dict[str, str], object]] = []
        if last_seq:
            async with aclosing(StreamReader(connection).read("E_e1_DLQ")) as batches:
                async for batch in batches:
                    found += [(dict(parse_headers(m.headers).values), decode_sample(m.payload).value) for m in batch]
                    if batch and batch[-1].seq >= last_seq:
                        break
        return found


async def test_broken_outputs_are_in_quarantine_once_whatever_is_killed(tmp_path: Path) -> None:
    log: list[str] = []
    path = write_site(tmp_path, flows=[{**FLOW, "partitions": 2}], machines=2, rows=ROWS, pause="50ms")
    async with edge_of(path, log) as edge:
        async with millstream.connect(tmp_path / "data") as plant:
            await plant.publish_contract(Contract("rows", "count", ("acme/**:rows",), NO_TENS))

        async def has(rows: int) -> bool:
            found = await outputs(edge.server)
            return all(len(rows_of(found, m)) >= rows for m in range(2))

        def tell() -> object:
            return flow_status(edge), log

        for target in (60, 150, 240):
            await until(lambda target=target: has(target), f"{target} rows", tell=tell)  # type: ignore[misc]
            if target == 150:  # tens beyond 100 were refused, by workers that have not been killed yet: they count
                await until(lambda: flow_status(edge)["broken"] > 0, "the count", tell=tell)
                kill_now(edge.server.pid)
            for worker in flow_status(edge)["workers"]:
                kill_now(worker["pid"])
        await until(lambda: has(ROWS), "all rows", tell=tell)

        said, kept = await outputs(edge.server), await letters(edge)
        for machine in range(2):
            rows = rows_of(said, machine)
            mine = {h["Ms-Flow-In"]: v for h, v in kept if h["Ms-Subject"].startswith(f"uns.v1.acme.p1.m{machine}.")}
            at = {origin: n for n, origin in enumerate((o for s, _, _, o in said if f".m{machine}." in s), 1)}
            assert len(rows) == ROWS
            assert {n for n, value in enumerate(rows, 1) if value is None} == {at[origin] for origin in mine}
            assert all(at[origin] == value for origin, value in mine.items())
            sound = [n for n in range(1, ROWS + 1) if n not in mine.values()]
            assert [value for value in rows if value is not None] == sound
            # What was said before the contract was known stays; from then on each tenth is in quarantine.
            assert set(range(100, ROWS + 1, 10)) <= set(mine.values())  # type: ignore[arg-type]
        assert len({h["Ms-Letter"] for h, _ in kept}) == len(kept)
        headers = kept[-1][0]
        assert (headers["Ms-Code"], headers["Ms-Contract"], headers["Ms-Source"]) == ("MS-0330", "rows/1", "flow rows")
        assert headers["Ms-Flow"] in ("rows/1/0", "rows/1/1")

        def is_told() -> bool:
            alarms = {alarm["code"]: alarm["message"] for alarm in edge.status()["alarms"]}  # type: ignore[attr-defined]
            return "broke rows/1 and are in quarantine" in alarms.get("MS-0330", "")

        await until(is_told, "the alarm of the workers that were started last", tell=tell)
        async with millstream.connect(tmp_path / "data") as plant:
            assert (await plant.ledger(recounted=True)).is_clean

"""Flows in a real edge: worker processes, counts that are exact whatever is killed."""

from __future__ import annotations

from pathlib import Path

from flow_site import edge_of, flow_status, kill_now, outputs, rows_of, until, write_site


async def test_a_flow_counts_every_row_once(tmp_path: Path) -> None:
    log: list[str] = []
    async with edge_of(write_site(tmp_path, rows=300, machines=2), log) as edge:

        async def is_done() -> bool:
            found = await outputs(edge.server)
            return len(rows_of(found)) >= 300 and len(rows_of(found, 1)) >= 300

        await until(is_done, "300 rows", tell=lambda: (flow_status(edge), log))
        found = await outputs(edge.server)
        assert rows_of(found) == rows_of(found, 1) == list(range(1, 301))
        assert {mark for _, _, mark, _ in found} == {"rows/1/0"}
        worker = flow_status(edge)["workers"][0]
        assert worker["state"] == "running"
        assert worker["starts_count"] == 1


async def test_a_killed_worker_goes_on_without_loss_or_repeat(tmp_path: Path) -> None:
    log: list[str] = []
    async with edge_of(write_site(tmp_path, rows=3000, pause="10ms"), log) as edge:
        for target in (300, 1000, 2000):

            async def has_come(target: int = target) -> bool:
                return len(rows_of(await outputs(edge.server))) >= target

            await until(has_come, f"{target} rows", tell=lambda: (flow_status(edge), log))
            kill_now(flow_status(edge)["workers"][0]["pid"])

        async def is_done() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 3000

        await until(is_done, "3000 rows", tell=lambda: (flow_status(edge), log))
        assert rows_of(await outputs(edge.server)) == list(range(1, 3001))

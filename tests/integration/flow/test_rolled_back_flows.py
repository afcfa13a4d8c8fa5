"""A flow whose stream is gone does not say everything again."""

from __future__ import annotations

import shutil
from pathlib import Path

from flow_site import FLOW, edge_of, flow_status, outputs, rows_of, until, write_site


async def test_a_flow_whose_state_is_gone_waits_for_a_person(tmp_path: Path) -> None:
    log: list[str] = []
    path = write_site(tmp_path, rows=50)
    async with edge_of(path, log) as edge:

        async def is_done() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 50

        await until(is_done, "50 rows", tell=lambda: (flow_status(edge), log))
    [store] = (tmp_path / "data").rglob("streams/E_e1_F")
    shutil.rmtree(store)
    async with edge_of(path, log) as edge:
        assert flow_status(edge)["state"] == "refused"
        assert flow_status(edge)["output"] == "E_e1_F_g2"
        assert "MS-0707" in {alarm["code"] for alarm in edge.status()["alarms"]}  # type: ignore[attr-defined]
        assert await outputs(edge.server, "E_e1_F_g2") == []
    path = write_site(tmp_path, flows=[{**FLOW, "version": 2, "start": "now"}], rows=400, pause="100ms")
    async with edge_of(path, log) as edge:

        async def has_some() -> bool:
            return len(rows_of(await outputs(edge.server, "E_e1_F_g2"))) >= 20

        await until(has_some, "new rows", tell=lambda: (flow_status(edge), log))
        found = await outputs(edge.server, "E_e1_F_g2")
        assert rows_of(found) == list(range(1, len(rows_of(found)) + 1))
        assert {mark for _, _, mark, _ in found} == {"rows/2/0"}

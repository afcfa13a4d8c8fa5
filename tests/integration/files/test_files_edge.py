"""Files through a real edge that is killed in their middle: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from edge_kit import edge_node, edge_process, status_of, stored_values, until, write_edge

CONNECTOR = """
  - name: bench7
    type: files
    path: bench7
    config: {{folder: in, pattern: "*.{suffix}*", order: mtime, poll_interval: 10ms, settle_time: 0s}}
    tags:
      - {{name: n, address: n, options: {{data_type: int}}}}
      - {{name: text, address: text}}
"""
ROWS = 3000


class Machine:
    """Writes rows in odd pieces, half lines too, and rotates its file now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows_count = 0

    async def write(self, until_row: int) -> None:
        """Go on up to this row."""
        path = self._folder / "log.csv"
        while self.rows_count < until_row:
            with path.open("a", encoding="utf-8") as stream:
                if stream.tell() == 0:
                    stream.write("n,text\n")
                rows = "".join(f"{self.rows_count + i},row {self.rows_count + i}\n" for i in range(40))
                stream.write(rows[:-7])
                stream.flush()
                await asyncio.sleep(0.001)
                stream.write(rows[-7:])
            self.rows_count += 40
            if self.rows_count % 500 == 0:
                path.rename(self._folder / f"log.csv.{self.rows_count}")
            await asyncio.sleep(0.001)


async def test_kill_9_of_an_edge_while_a_machine_writes_and_rotates_loses_and_doubles_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = write_edge(tmp_path, CONNECTOR.format(suffix="csv"))
    machine = Machine(tmp_path / "in")
    for turn in range(1, 4):
        async with edge_process(path) as edge:
            await machine.write(turn * ROWS // 3)
            await edge.kill()
    (tmp_path / "in" / "log.csv").write_text(f"n,text\n{ROWS},last\nnonsense\n", encoding="utf-8")
    async with edge_node(path) as node:
        await until(lambda: status_of(node)["samples_stored"] == 2 * ROWS + 2, lambda: status_of(node))
        await until(lambda: status_of(node)["frames_quarantined"] >= 1)
        values, verifier = await stored_values(node)
        assert values["n"] == list(range(ROWS + 1))
        assert values["text"] == [f"row {i}" for i in range(ROWS)] + ["last"]
        assert verifier.accounts["E_e1_I"].is_clean
        assert status_of(node)["source_gaps"] == 0
        assert status_of(node)["samples_bad"] == 0


async def test_kill_9_in_the_middle_of_a_parquet_file_loses_and_doubles_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(2):
        rows = range(i * ROWS, (i + 1) * ROWS)
        table = pa.table({"n": list(rows), "text": [f"row {n}" for n in rows]})
        pq.write_table(table, tmp_path / "in" / f"{i}.parquet", row_group_size=800)
    path = write_edge(tmp_path, CONNECTOR.format(suffix="parquet").replace("mtime", "name"))
    for turn in range(3):
        async with edge_process(path):
            await asyncio.sleep(0.05 + 0.1 * turn)
    async with edge_node(path) as node:
        await until(lambda: status_of(node)["samples_stored"] == 4 * ROWS, lambda: status_of(node))
        values, verifier = await stored_values(node)
        assert values["n"] == list(range(2 * ROWS))
        assert values["text"] == [f"row {n}" for n in range(2 * ROWS)]
        assert verifier.accounts["E_e1_I"].is_clean

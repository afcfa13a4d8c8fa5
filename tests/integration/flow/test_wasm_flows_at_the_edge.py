"""A flow that is a WebAssembly module, in a worker of a real edge."""

from __future__ import annotations

import shutil
from pathlib import Path

from flow_site import edge_of, flow_status, outputs, rows_of, until, write_site
from ramp import CATALOG
from test_bad_steps import letters

from millstream.config import load_edge

ODD = Path(__file__).resolve().parents[2] / "data" / "wasm" / "odd.wasm"
MODULE = {"name": "rows", "type": "wasm", "module": "flows/odd.wasm", "module_fuel": 1_000_000, "max_memory": "64MiB"}


async def test_a_module_counts_at_the_edge_and_what_it_cannot_take_goes_into_quarantine(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    shutil.copy(ODD, tmp_path / "flows" / "odd.wasm")
    log: list[str] = []
    path = write_site(tmp_path, flows=[MODULE], rows=60, odd={"10": -1, "20": -2, "30": -3, "40": -4})
    async with edge_of(path, log) as edge:

        async def is_done() -> bool:
            return len(rows_of(await outputs(edge.server))) >= 56

        await until(is_done, "56 rows", tell=lambda: (flow_status(edge), log))
        assert rows_of(await outputs(edge.server)) == list(range(1, 57))

        async def has_letters() -> bool:
            return len(await letters(edge)) >= 4

        await until(has_letters, "4 letters", tell=lambda: (flow_status(edge), log))
        found = await letters(edge)
        assert [letter["Ms-Code"] for letter in found] == ["MS-0711", "MS-0712", "MS-0713", "MS-0714"]
        assert "no such row" in found[0]["Ms-Reason"]
        assert flow_status(edge)["workers"][0]["starts_count"] == 1


def test_a_file_with_a_module_is_checked_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    path = write_site(tmp_path, flows=[MODULE], rows=1)
    config, findings = load_edge(path, CATALOG)
    assert (config, [finding.code for finding in findings]) == (None, ["MS-0102"])
    (tmp_path / "flows" / "odd.wasm").write_bytes(b"\0asm\1\0\0\0")
    config, findings = load_edge(path, CATALOG)
    assert (config, [finding.code for finding in findings]) == (None, ["MS-0710"])
    assert "millstream_alloc" in str(findings[0])
    shutil.copy(ODD, tmp_path / "flows" / "odd.wasm")
    config, findings = load_edge(path, CATALOG)
    assert findings == []
    path.write_text(path.read_text("utf-8").replace('"module": "flows/odd.wasm", ', ""), encoding="utf-8")
    config, findings = load_edge(path, CATALOG)
    assert "needs a 'module'" in str(findings[0])

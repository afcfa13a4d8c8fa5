"""The commands of `millstream config` against a hub and its edge, as a person and as CI use them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from site_kit import document, healthy, site

from millstream.cli import main
from millstream.client import connect


async def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Status, output and notes of one command."""
    capsys.readouterr()
    status = await asyncio.to_thread(main, list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


async def test_a_site_is_put_edited_compared_and_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        monkeypatch.setenv("MILLSTREAM_NODE", str(tmp_path / "hub"))
        status, out, _ = await run(capsys, "config", "get", "e1")
        assert (status, out) == (0, "")
        file = tmp_path / "e1-new.yaml"
        file.write_text(document(made.log_entry()), encoding="utf-8")
        status, out, _ = await run(capsys, "config", "put", "e1", str(file), "-m", "first", "--author", "ada")
        assert (status, out) == (0, "e1: revision 1\n")
        await healthy(plant, 1)

        status, out, _ = await run(capsys, "config", "get", "e1")
        assert out.startswith("# e1, revision 1\n")
        file.write_text(out + "flows: [\n", encoding="utf-8")
        status, wrong, notes = await run(capsys, "config", "put", "e1", str(file))
        assert (status, "e1-new.yaml:" in wrong, "MS-2416" in notes) == (6, True, True)
        file.write_text(out.replace("path: log", "path: logs"), encoding="utf-8")
        status, out, _ = await run(capsys, "config", "put", "e1", str(file), "--author", "bob", "--json")
        assert (status, objects(out)[0]["based_on"]) == (0, 1)
        status, _, notes = await run(capsys, "config", "put", "e1", str(file), "--json")  # it says revision 1
        assert (status, json.loads(notes)["error"]["code"]) == (1, "MS-2406")
        await healthy(plant, 2)

        status, out, _ = await run(capsys, "config", "diff", "e1", "--json")
        assert objects(out) == [{"path": "connectors[log].path", "old": '"log"', "new": '"logs"'}]
        status, out, _ = await run(capsys, "config", "blame", "e1", "--json")
        blamed = {row["path"]: (row["revision"], row["author"]) for row in objects(out)}
        assert (blamed["connectors[log].path"], blamed["connectors[log].type"]) == ((2, "bob"), (1, "ada"))

        editor = tmp_path / "editor.sh"
        editor.write_text('#!/bin/sh\nsed -i "s/path: logs/path: log2/" "$1"\n', encoding="utf-8")
        editor.chmod(0o755)
        monkeypatch.setenv("VISUAL", str(editor))
        status, out, _ = await run(capsys, "config", "edit", "e1", "--author", "eve", "-m", 'a second log: ü, "quoted"')
        assert (status, out) == (0, "e1: revision 3\n")
        assert (await run(capsys, "config", "edit", "e1"))[2] == "not changed\n"

        status, out, _ = await run(capsys, "config", "rollback", "e1", "--to", "1", "--author", "ada")
        assert (status, out) == (0, "e1: revision 4, as 1\n")
        await healthy(plant, 4)
        status, out, _ = await run(capsys, "config", "history", "e1", "--json")
        told = [(r["revision"], r["author"], r.get("kind", "put"), r.get("restores", 0)) for r in objects(out)]
        assert told == [(1, "ada", "put", 0), (2, "bob", "put", 0), (3, "eve", "put", 0), (4, "ada", "rollback", 1)]
        comments = ["first", "", 'a second log: ü, "quoted"', "back to revision 1"]
        assert [r.get("comment", "") for r in objects(out)] == comments
        shown = (await run(capsys, "config", "history", "e1"))[1]
        assert all(comment in shown for comment in comments)
        newest = json.loads((await run(capsys, "config", "get", "e1", "--json"))[1])
        assert newest["comment"] == "back to revision 1"
        status, out, _ = await run(capsys, "config", "blame", "e1", "--json")
        assert {(row["revision"], row["comment"]) for row in objects(out)} <= set(enumerate(comments, 1))
        assert ("connectors[log].path", 4) in {(row["path"], row["revision"]) for row in objects(out)}
        status, out, _ = await run(capsys, "config", "status", "--json")
        assert (status, [(r["edge"], r["desired"], r["runs"], r["state"]) for r in objects(out)]) == (
            0, [("e1", 4, 4, "healthy")],
        )  # fmt: skip
        assert "healthy" in (await run(capsys, "config", "status"))[1]

        # Somebody edits the edge's own file: it is told, and the hub's revision goes on to count.
        assert made.edge is not None
        own = (tmp_path / "e1.yaml").read_text(encoding="utf-8")
        (tmp_path / "e1.yaml").write_text(own.replace("twice", "once").replace("count", "counts"), encoding="utf-8")
        await made.edge.stop()
        status, out, _ = await run(capsys, "config", "status", "--json")
        assert (status, objects(out)[0]["state"]) == (6, "away")
        await made.start_edge()
        await healthy(plant, 4)
        status, out, _ = await run(capsys, "config", "status", "--json")
        row = objects(out)[0]
        assert (status, row["state"], row["runs"], "MS-2414" in row["why"]) == (6, "drifted", 4, True)


async def test_a_folder_is_planned_applied_and_applied_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path) as made, connect(node=tmp_path / "hub") as plant:
        monkeypatch.setenv("MILLSTREAM_NODE", str(tmp_path / "hub"))
        folder = tmp_path / "git"
        (folder / "sites").mkdir(parents=True)
        (folder / "base.yaml").write_text(document(made.log_entry()), encoding="utf-8")
        mine = folder / "sites" / "e1.yaml"
        mine.write_text("connectors: [{name: log, sampling_interval: 2s}]\n", encoding="utf-8")
        status, out, _ = await run(capsys, "config", "plan", str(folder))
        assert (status, '  + connectors[log].sampling_interval: "2s"\n' in out) == (2, True)
        status, out, _ = await run(capsys, "config", "apply", str(folder), "-m", "from git")
        assert (status, out) == (0, "e1: revision 1\n")
        await healthy(plant, 1)
        assert (await run(capsys, "config", "plan", str(folder)))[0] == 0
        assert (await run(capsys, "config", "apply", str(folder)))[1] == "e1: unchanged\n"

        await plant.configs.put("e1", document(made.log_entry()), based_on=1, author="eve")
        status, out, _ = await run(capsys, "config", "plan", str(folder), "--json")
        assert (status, objects(out)[0]["is_foreign"]) == (2, True)
        status, out, _ = await run(capsys, "config", "apply", str(folder))
        assert (status, "by eve" in out, "MS-2406" in out) == (6, True, True)
        status, out, _ = await run(capsys, "config", "apply", str(folder), "--overwrite", "--json")
        assert (status, objects(out)[0]["result"]) == (0, "revision 3")
        await healthy(plant, 3)

        mine.write_text("connectors: [{name: log, sampling_interval: 2}]\n", encoding="utf-8")
        (folder / "sites" / "e9.yaml").write_text("connectors: []\n", encoding="utf-8")
        status, out, notes = await run(capsys, "config", "apply", str(folder))
        assert (status, notes.splitlines()[-1]) == (6, "nothing is stored")
        assert "e1.yaml:1:" in out
        assert "MS-2415" in out  # the hub knows no e9
        found = await plant.configs.get("e1")
        assert found is not None
        assert found.revision.revision == 3

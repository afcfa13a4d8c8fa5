"""`millstream edge --check`: what another version is asked before it is switched to. It changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import __version__
from millstream.cli import main
from millstream.edge._config_state import Held, SiteState
from millstream.edge._config_store import ConfigStore
from millstream.protocols.site_config import encode_revision, make_revision
from millstream.release import DATA_FORMAT
from millstream.release._format import FILE, DataNote


def asked(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Exit status and answer."""
    status = main(["edge", "-c", str(file), "--check", "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_it_looks_at_the_file_the_configuration_from_the_hub_and_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, data_dir = tmp_path / "edge.yaml", tmp_path / "data"
    file.write_text("edge: {name: e1, path: acme/e1, data_dir: data}\n", encoding="utf-8")
    status, said = asked(file, capsys)
    assert (status, said["findings"], said["version"]) == (0, [], __version__)
    assert Path(said["file"]).name == "__init__.py"
    assert not data_dir.exists(), "nothing was made"

    revision = make_revision(
        "e1", "connectors: [{name: x, type: no_such_type}]\n", revision=3, based_on=0, author="ann", comment="",
        time_ns=1,
    )  # fmt: skip
    store, held = ConfigStore(data_dir, "e1"), Held.of(revision)
    store.folder.mkdir(parents=True)
    store.keep(encode_revision(revision), held)
    store.save(SiteState(healthy=held))
    before = (store.folder / "state.json").read_bytes()
    status, said = asked(file, capsys)
    assert status == 6
    assert "no_such_type" in said["findings"][0]
    assert (store.folder / "state.json").read_bytes() == before

    store.save(SiteState())
    newer = DataNote(DATA_FORMAT + 1, DATA_FORMAT + 1, "9.9")
    (data_dir / FILE).write_bytes(msgspec.json.encode(newer))
    status, said = asked(file, capsys)
    assert (status, "MS-2457" in said["findings"][0]) == (6, True)

    file.write_text("edge: {name: e1, path: acme/e1, data_dir: data, odd: 1}\n", encoding="utf-8")
    status, said = asked(file, capsys)
    assert (status, "odd" in said["findings"][0]) == (6, True)

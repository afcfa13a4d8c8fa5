"""`millstream code release`: one file out of wheels, and what is none is said at once."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from millstream.cli import main
from millstream.protocols.module import module_digest


def test_a_release_is_named_by_its_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel, target = tmp_path / "millstream-2.0-py3-none-any.whl", tmp_path / "m.release"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("millstream-2.0.dist-info/METADATA", "Name: millstream\nVersion: 2.0\n\n")
    assert main(["code", "release", str(wheel), "--to", str(target), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["version"] == "2.0"
    assert said["digest"] == module_digest(target.read_bytes())
    assert main(["code", "release", str(wheel), "--to", str(tmp_path / "m.zip")]) != 0
    assert "MS-2450" in capsys.readouterr().err
    other = wheel.rename(tmp_path / "acme-2.0-py3-none-any.whl")
    assert main(["code", "release", str(other), "--to", str(tmp_path / "n.release")]) != 0
    assert "no wheel of Millstream" in capsys.readouterr().err
    assert not (tmp_path / "n.release").exists()

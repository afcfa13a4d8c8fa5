"""What starts an edge stays small: it becomes another version, or waits for one, and needs nothing of its own then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from millstream.release import PLACE, ChoiceFile, Held, Trial, begin, confirm, nothing_chosen, python_tag

NOT_FOR_THE_LAUNCHER = ("pydantic", "numpy", "nats", "millstream.config", "millstream.edge", "millstream.bus")
BEGIN = """
import os, sys
from millstream.cli import main

def told(*words):
    print("loaded", *(name for name in os.environ["NAMES"].split() if name in sys.modules), flush=True)
    become(*words)

become, os.execve = os.execve, told
print("launcher", os.getpid(), flush=True)
main()
"""
TELL = """
import sys, os
print("started", os.getpid(), *sys.argv[1:])
print(*sorted(os.environ.get("PYTHONPATH", "").split(os.pathsep)))
"""


def test_it_becomes_the_chosen_version_in_the_same_process_and_loads_little(tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("edge: {name: e1, path: acme/e1, data_dir: data}\n", encoding="utf-8")
    file, held = ChoiceFile(tmp_path / "data"), Held("c" * 64, "9.0")
    own = subprocess.run(
        [sys.executable, "-c", "import millstream; print(millstream.__version__)"], capture_output=True, text=True,
        check=True,
    ).stdout.strip()  # fmt: skip
    file.write(confirm(begin(nothing_chosen(own, python_tag()), Trial(held, "c1", 1)), 1))
    package = file.place(held) / PLACE / "millstream"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(TELL, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, "edge", "-c", "edge.yaml"], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "NAMES": " ".join(NOT_FOR_THE_LAUNCHER)}, check=True,
    )  # fmt: skip
    launcher, loaded, started, path = done.stdout.splitlines()
    assert loaded == "loaded"
    assert started.split()[:2] == ["started", launcher.split()[1]], "the same process"
    assert str(package.parent) in path.split()
    choice = file.read()
    assert choice is not None
    assert choice.runs == held

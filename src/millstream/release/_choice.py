"""Which version of Millstream an edge starts: one file in its data directory, and how it changes. The steps are pure.

    runs A --begin--> runs A, trial B --confirm--> runs B
                                      --fail-----> runs A

What happens if it is killed here? The file is written beside and renamed, so that it is the old or the new one. Before
`begin` the version that runs is started again; from `begin` on the trial, counted each time, until it is confirmed or
fails. `ended` says how an update went, also to the version that comes after: it outlives the command's own process.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from millstream.kernel import write_private

FOLDER, FILE = "versions", "choice.json"
STARTS_MAX = 3  # of a version on trial; one that ends as often before it is healthy is given up
ENDED_KEPT = 8  # of what became of updates
_NAME = re.compile(r"[0-9a-f]{64}\Z")


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version: the folder below ``versions`` that it lies in, "" for the one that an installer put there."""

    folder: str = ""
    version: str = ""

    @property
    def digest(self) -> str:
        """As a module of the hub, or "installed"."""
        return f"sha256:{self.folder}" if self.folder else INSTALLED


INSTALLED = "installed"


class Trial(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version that has to show that it is healthy. `command` asked for it; `must_be_up` worked before, and
    `needs_hub` when the hub was reached before."""

    held: Held
    command: str
    healthy_within_ms: int
    must_be_up: tuple[str, ...] = ()
    needs_hub: bool = False
    starts: int = 0


class Ended(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an update."""

    command: str
    state: Literal["done", "failed"]
    held: Held
    before: Held
    time_ns: int
    reason: str | None = None


class Choice(msgspec.Struct, frozen=True, omit_defaults=True):
    """`installed` and `python` are what was there when it was chosen: whoever installs another one by hand means it."""

    installed: str
    python: str
    runs: Held
    before: Held | None = None
    trial: Trial | None = None
    ended: tuple[Ended, ...] = ()

    def ended_of(self, command: str) -> Ended | None:
        """How the update that a command asked for went; None: it was not begun, or goes on."""
        return next((one for one in reversed(self.ended) if one.command == command), None)


@dataclass(frozen=True, slots=True)
class Start:
    """What to start now. `choice` is to be kept first, if it is another one than was read; `note` is for people."""

    held: Held
    choice: Choice
    note: str | None = None


def python_tag() -> str:
    """Of the Python that runs: what is unpacked for one does not run with another."""
    return sys.implementation.cache_tag or "unknown"


def nothing_chosen(installed: str, python: str) -> Choice:
    """The one that an installer put there."""
    return Choice(installed, python, Held("", installed))


def begin(choice: Choice, trial: Trial) -> Choice:
    """From now on the next start is that of the version on trial."""
    return msgspec.structs.replace(choice, trial=trial)


def counted(choice: Choice) -> Choice:
    """The version on trial is started once more."""
    assert choice.trial is not None
    trial = msgspec.structs.replace(choice.trial, starts=choice.trial.starts + 1)
    return msgspec.structs.replace(choice, trial=trial)


def confirm(choice: Choice, now_ns: int) -> Choice:
    """The version on trial is healthy: it is the one that runs."""
    trial = choice.trial
    assert trial is not None
    ended = Ended(trial.command, "done", trial.held, choice.runs, now_ns)
    return msgspec.structs.replace(choice, runs=trial.held, before=choice.runs, trial=None, ended=_kept(choice, ended))


def fail(choice: Choice, reason: str, now_ns: int) -> Choice:
    """The version on trial is given up: the one before is started next."""
    trial = choice.trial
    if trial is None:
        return choice
    ended = Ended(trial.command, "failed", trial.held, choice.runs, now_ns, reason[:400])
    return msgspec.structs.replace(choice, trial=None, ended=_kept(choice, ended))


def to_start(choice: Choice, installed: str, python: str, is_there: frozenset[str], now_ns: int) -> Start:
    """What is started next. `is_there` are the folders of versions; `installed` and `python` are those of now."""
    note = None
    if choice.installed != installed:
        note = f"millstream {installed} was installed by hand, in place of {choice.installed}: it is started"
    elif choice.python != python:
        note = f"Python is another one ({python}, not {choice.python}): the version installed for it is started"
    elif choice.runs.folder and choice.runs.folder not in is_there:
        note = f"version {choice.runs.version} is not in its folder any more: the installed one is started"
    if note is not None:
        given_up = fail(choice, note, now_ns)
        own = nothing_chosen(installed, python)
        return Start(own.runs, msgspec.structs.replace(own, ended=given_up.ended), note)
    trial = choice.trial
    if trial is None:
        return Start(choice.runs, choice)
    if trial.held.folder and trial.held.folder not in is_there:
        note = f"version {trial.held.version} on trial is not in its folder"
    elif trial.starts >= STARTS_MAX:
        note = f"version {trial.held.version} ended {STARTS_MAX} times before it was healthy"
    if note is not None:
        return Start(choice.runs, fail(choice, note, now_ns), f"{note}: {choice.runs.version} is started again")
    return Start(trial.held, counted(choice))


def _kept(choice: Choice, ended: Ended) -> tuple[Ended, ...]:
    return (*choice.ended[1 - ENDED_KEPT :], ended)


class ChoiceFile:
    """The file, and the folders of versions beside it. All calls block."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / FOLDER
        self._file = self.folder / FILE

    def read(self) -> Choice | None:
        """None: nothing was chosen yet. Raises ValueError for a file that cannot be read, OSError."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Choice)
        except FileNotFoundError:
            return None

    def write(self, choice: Choice) -> None:
        """Durably. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._file, msgspec.json.encode(choice).decode())

    def place(self, held: Held) -> Path:
        """The folder of an unpacked version."""
        return self.folder / held.folder

    def present(self) -> frozenset[str]:
        """The folders of unpacked versions."""
        try:
            return frozenset(name for name in os.listdir(self.folder) if _NAME.match(name))
        except OSError:
            return frozenset()

"""How an edge's process becomes the version that was chosen, before anything is opened.

The installed version is always started first, by whatever starts the edge (systemd, a container, a person). It reads
which version is to run and becomes that one, in the same process. A version on trial runs below it instead: the
installed one stays and watches until the trial has ended, so that also a version that hangs or dies at its start is
given up, with nobody there. What is chosen is kept before it is started, so that a kill at any moment is counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
import yaml

from millstream.kernel import Clock, SystemClock
from millstream.release._choice import (
    STARTS_MAX,
    Choice,
    ChoiceFile,
    Held,
    Start,
    Trial,
    fail,
    python_tag,
    to_start,
)
from millstream.release._package import PLACE

VARIABLE = "MILLSTREAM_LAUNCHED"
RESTART = 85
"""Exit status of a version below the launcher that wants the launcher to choose anew."""
GRACE_S = 60.0  # to start, and to stop, beyond the time in which a trial has to be healthy
AGAIN_S = 1.0  # between two starts of a version on trial
LOOK_S = 0.25
KILL_S = 20.0
SCAN_BYTES_MAX = 8 << 20

# Between fork and exec of the version, in a process without threads: it dies with the launcher. Linux only.
_TIED = (
    "import ctypes,os,signal,sys\n"
    "try: ctypes.CDLL(None).prctl(1,signal.SIGKILL)\n"
    "except (OSError,AttributeError): pass\n"
    "os.getppid()==int(sys.argv[1]) or sys.exit(0)\n"
    "os.execv(sys.argv[2],sys.argv[2:])\n"
)


class Launched(msgspec.Struct, frozen=True):
    """How this process was started: `words` start the launcher again, `arguments` are those of the command line.
    `pythonpath` is what was set before a version was put in front. `pid` is the process, or `parent` the launcher that
    watches it, so that other programs do not take what they inherit for their own."""

    words: tuple[str, ...]
    arguments: tuple[str, ...]
    installed: str
    held: Held
    pythonpath: str | None = None
    pid: int = 0
    parent: int = 0

    def environment(self, place: Path | None, base: Mapping[str, str]) -> dict[str, str]:
        """Of a process that runs the version in `place`; None: the installed one."""
        found = {name: value for name, value in base.items() if name not in (VARIABLE, "PYTHONPATH")}
        path = [str(place / PLACE)] if place is not None else []
        path += [self.pythonpath] if self.pythonpath else []
        return {**found, "PYTHONPATH": os.pathsep.join(path)} if path else found

    def command(self, place: Path | None) -> list[str]:
        """What starts that version."""
        return list(self.words) if place is None else [self.words[0], "-P", "-m", "millstream", *self.arguments]

    def as_facts(self) -> dict[str, str]:
        """What runs, for the node's status and for queries of the fleet."""
        return {"package": self.held.digest, "installed": self.installed}

    def restart(self) -> int:
        """Become the launcher again; below one, the exit status that asks it to. Nothing may be open any more."""
        return RESTART if self.parent else self.relaunch()

    def relaunch(self) -> NoReturn:
        """Become the launcher again."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.words[0], list(self.words), self.environment(None, os.environ))


def launch(config: Path, arguments: Sequence[str], installed: str, clock: Clock | None = None) -> Launched | int:
    """Become the version that was chosen for the edge of this file. Returns how this process was started when it is
    that version, or the exit status of a trial that has ended here."""
    known = _inherited()
    if known is not None:
        return known
    words = (sys.executable, *sys.orig_argv[1:])
    own = Launched(words, tuple(arguments), installed, Held("", installed), os.environ.get("PYTHONPATH"), os.getpid())
    data_dir = data_dir_of(config)
    file = None if data_dir is None else ChoiceFile(data_dir)
    if file is None or not file.folder.exists():
        return own
    clock = clock or SystemClock()
    start = _choose(file, installed, clock)
    if start is None or (start.choice.trial is None and not start.held.folder):
        return own
    if start.choice.trial is None:
        place = file.place(start.held)
        mine = msgspec.structs.replace(own, held=start.held)
        _become(mine, place)
    status = _Trial(own, file, clock).run(start)
    return own.relaunch() if status is None else status


def _choose(file: ChoiceFile, installed: str, clock: Clock) -> Start | None:
    """None: the installed one, since what was chosen cannot be read or kept. Then it must start all the same."""
    try:
        choice = file.read()
        if choice is None:
            return None
        start = to_start(choice, installed, python_tag(), file.present(), clock.now_ns())
        if start.choice != choice:
            file.write(start.choice)
    except (ValueError, OSError) as error:
        _tell(f"which version is to run cannot be read or kept, so the installed one is started: {error}")
        return None
    if start.note is not None:
        _tell(start.note)
    return start


def _become(launched: Launched, place: Path) -> NoReturn:
    words, environment = launched.command(place), launched.environment(place, os.environ)
    os.execve(words[0], words, {**environment, VARIABLE: msgspec.json.encode(launched).decode()})


def _inherited() -> Launched | None:
    try:
        found = msgspec.json.decode(os.environ.get(VARIABLE, ""), type=Launched)
    except msgspec.DecodeError:
        return None
    is_mine = found.pid == os.getpid() or (found.parent != 0 and found.parent == os.getppid())
    return found if is_mine else None


class _Trial:
    """The launcher while a version on trial runs below it."""

    def __init__(self, own: Launched, file: ChoiceFile, clock: Clock) -> None:
        self._own = own
        self._file = file
        self._clock = clock
        self._is_stopped = False
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, start: Start) -> int | None:
        """Until the version has ended; returns its status, None when the launcher is to choose anew."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        trial = start.choice.trial
        assert trial is not None
        _tell(f"millstream {start.held.version} is started on trial, {trial.starts} of {STARTS_MAX}")
        place = self._file.place(start.held) if start.held.folder else None
        mine = msgspec.structs.replace(self._own, held=start.held, pid=0, parent=os.getpid())
        environment = {
            **mine.environment(place, os.environ), VARIABLE: msgspec.json.encode(mine).decode(),
        }  # fmt: skip
        tied = [sys.executable, "-ISc", _TIED, str(os.getpid()), *mine.command(place)]
        self._child = subprocess.Popen(tied, env=environment)
        if self._is_stopped:
            self._stop(signal.SIGTERM, None)
        status = self._watch(self._child, trial.healthy_within_ms / 1000 + GRACE_S)
        return self._after(status, start)

    def _stop(self, number: int, frame: object) -> None:
        self._is_stopped = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def _watch(self, child: subprocess.Popen[bytes], within_s: float) -> int:
        """Until it has ended; one that is still on trial when its time is over, and has not said so itself, is
        killed."""
        end_ns = self._clock.monotonic_ns() + int(within_s * 1e9)
        while True:
            try:
                return child.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                pass
            choice = self._read()
            if choice is None or choice.trial is None:  # confirmed, or it has given itself up and ends
                try:
                    return child.wait(None if choice is None or self._is_confirmed(choice) else KILL_S + GRACE_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                    return child.wait()
            if self._clock.monotonic_ns() > end_ns and not self._is_stopped:
                self._write(fail(choice, f"it did not say within {within_s:g} s that it is healthy", self._now()))
                child.terminate()
                try:
                    child.wait(KILL_S)
                except subprocess.TimeoutExpired:
                    child.kill()
                return child.wait()

    def _is_confirmed(self, choice: Choice) -> bool:
        return bool(choice.ended) and choice.ended[-1].state == "done"

    def _after(self, status: int, start: Start) -> int | None:
        """What follows on its end."""
        choice = self._read()
        status = 128 - status if status < 0 else status
        if self._is_stopped:
            if choice is not None and choice == start.choice:  # it was stopped, it did not die
                self._write(msgspec.structs.replace(choice, trial=_uncounted(choice)))
            return status
        if choice is not None and choice.trial is None and self._is_confirmed(choice) and status != RESTART:
            return status
        if choice is not None and choice.trial is not None and _command(choice) == _command(start.choice):
            _tell(f"millstream {start.held.version} on trial has ended with status {status}")
            self._clock_wait(AGAIN_S)
            if self._is_stopped:
                return status
        return None

    def _clock_wait(self, seconds: float) -> None:
        signal.sigtimedwait((), seconds)

    def _now(self) -> int:
        return self._clock.now_ns()

    def _read(self) -> Choice | None:
        try:
            return self._file.read()
        except (ValueError, OSError):
            return None

    def _write(self, choice: Choice) -> None:
        try:
            self._file.write(choice)
        except OSError as error:
            _tell(f"which version is to run cannot be kept: {error}")


def _command(choice: Choice) -> str:
    return "" if choice.trial is None else choice.trial.command


def _uncounted(choice: Choice) -> Trial | None:
    trial = choice.trial
    return None if trial is None else msgspec.structs.replace(trial, starts=max(0, trial.starts - 1))


def _tell(text: str) -> None:
    print(f"millstream: {text}", file=sys.stderr, flush=True)  # noqa: T201 - before there is a log


def data_dir_of(config: Path) -> Path | None:
    """``edge.data_dir`` of a file that another version may have to understand; None where it is not found: then
    whoever reads the file says why."""
    try:
        with config.open("rb") as file:
            text = file.read(SCAN_BYTES_MAX).decode("utf-8-sig")
        found = _scalar_at(text, ("edge", "data_dir"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return None if not found else config.absolute().parent / found


def _scalar_at(text: str, path: tuple[str, ...]) -> str | None:
    """A scalar of a document, read no further than to it."""
    open_keys: list[str | None] = []  # of each mapping around; None while its next key is awaited
    in_lists = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.SequenceStartEvent):
            in_lists += 1
        elif isinstance(event, yaml.SequenceEndEvent):
            in_lists -= 1
            if not in_lists and open_keys:
                open_keys[-1] = None
        elif in_lists:
            continue
        elif isinstance(event, yaml.MappingStartEvent):
            open_keys.append(None)
        elif isinstance(event, yaml.MappingEndEvent):
            open_keys.pop()
            if open_keys:
                open_keys[-1] = None
        elif isinstance(event, yaml.ScalarEvent | yaml.AliasEvent) and open_keys:
            if open_keys[-1] is None:
                open_keys[-1] = getattr(event, "value", "")
            else:
                if tuple(open_keys) == path and isinstance(event, yaml.ScalarEvent):
                    return str(event.value)
                open_keys[-1] = None
    return None

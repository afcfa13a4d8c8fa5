"""Versions and wheels by the rules of Python packaging, as much of them as a check before an update needs. Pure.

What these rules cannot tell (an extra, an unusual specifier) the new version shows when it is tried, before anything is
switched.
"""

from __future__ import annotations

import platform
import re
import sys
import sysconfig
from dataclasses import dataclass

_VERSION = re.compile(
    r"v?(\d+(?:\.\d+)*)(?:[-_.]?(a|b|rc|alpha|beta|c)[-_.]?(\d*))?(?:\.?post(\d+))?(?:\.?dev(\d+))?(?:\+.*)?\Z", re.I
)
_CLAUSE = re.compile(r"\s*(~=|==|!=|<=|>=|<|>)\s*([^\s,;]+)\s*\Z")
_PRE = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2}
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_LIBC_TAG = re.compile(r"(many|musl)linux_(\d+)_(\d+)_(.+)\Z")


def version_key(text: str) -> tuple[tuple[int, ...], tuple[int, int], int, int]:
    """To compare versions by (PEP 440): releases, what comes before them, after them, while they are made. Raises
    ValueError."""
    match = _VERSION.match(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no version")
    numbers = [int(part) for part in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    is_only_dev = match[2] is None and match[4] is None and match[5] is not None
    pre = (-1, 0) if is_only_dev else (_PRE[match[2].lower()], int(match[3] or 0)) if match[2] else (9, 0)
    dev = sys.maxsize if match[5] is None else int(match[5])
    return tuple(numbers), pre, -1 if match[4] is None else int(match[4]), dev


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version fits ``>=1.2,<2``. A clause that is not understood fits: the trial shows it."""
    try:
        return all(_fits(version, clause) for clause in specifier.split(",") if clause.strip())
    except ValueError:
        return True


def _fits(version: str, clause: str) -> bool:
    match = _CLAUSE.match(clause)
    if match is None or "*" in match[2]:
        return True
    sign, own, other = match[1], version_key(version), version_key(match[2])
    if sign == "~=":
        stem = match[2].split(".")[:-1]
        return own >= other and version.split(".")[: len(stem)] == stem
    return {
        "==": own == other, "!=": own != other, "<=": own <= other, ">=": own >= other, "<": own < other,
        ">": own > other,
    }[sign]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """What wheels have to fit: Python's minor version of 3, the kind of machine, its C library."""

    minor: int
    system: str
    machine: str
    libc: str
    libc_version: tuple[int, ...]

    @classmethod
    def own(cls) -> Machine:
        """This one."""
        libc, version = platform.libc_ver()
        numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
        if sys.platform == "linux" and libc != "glibc":
            libc, numbers = "musl", (1, 2)
        system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        return cls(sys.version_info.minor, system, platform.machine(), libc, numbers)

    def __str__(self) -> str:
        return f"Python 3.{self.minor} on {self.system}"

    def takes(self, wheel: str) -> bool:
        """Whether a wheel of this file name runs here."""
        python, abi, system = wheel.removesuffix(".whl").split("-")[-3:]
        return any(
            self._takes_python(p, a) and self._takes_system(s)
            for p in python.split(".") for a in abi.split(".") for s in system.split(".")
        )  # fmt: skip

    def _takes_python(self, python: str, abi: str) -> bool:
        name, minor = python[:2], python[3:]
        if python[2:3] != "3" or name not in ("py", "cp") or (minor and not minor.isdigit()):
            return False
        if abi == f"cp3{self.minor}":
            return python == abi
        is_open = name == "py" or abi == "abi3"
        return abi in ("none", "abi3") and (int(minor or 0) <= self.minor if is_open else int(minor) == self.minor)

    def _takes_system(self, system: str) -> bool:
        if system in ("any", self.system):
            return True
        name, _, machine = system.partition("_")
        match = _LIBC_TAG.match(system)
        if match is not None:
            libc, wanted, machine = match[1], (int(match[2]), int(match[3])), match[4]
        elif name in _LEGACY:
            libc, wanted = "many", _LEGACY[name]
        else:
            return False
        return machine == self.machine and self.libc == {"many": "glibc", "musl": "musl"}[libc] and (
            self.libc_version >= wanted
        )  # fmt: skip

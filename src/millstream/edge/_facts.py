"""What an edge knows of itself, for queries of the fleet. What cannot be read is left out, never guessed."""

from __future__ import annotations

import os
import platform
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

import millstream
from millstream.edge._history import history_facts
from millstream.kernel import Clock

FRESH_NS = 500_000_000  # facts are gathered at most so often, whoever asks
RATE_SPAN_S = 10  # over which rates are taken; one look a second
STREAM_NAMES = {"I": "integrity", "T": "throughput", "S": "site", "F": "flows", "MQTT": "mqtt", "DLQ": "dead_letters"}
ALARMS_COUNT_MAX = 50
ERROR_CHARS_MAX = 200
_MODEL_FILES = ("/proc/device-tree/model", "/sys/class/dmi/id/product_name")
_UNREADABLE = (OSError, psutil.Error, ValueError, KeyError, AttributeError, TypeError)


class FactBook:
    """The facts of one edge: those of the machine read once, those of the moment at most twice a second."""

    def __init__(
        self, identity: Mapping[str, Any], data_dir: Path, status: Callable[[], Mapping[str, Any]],
        server_version: Callable[[], str | None], *, clock: Clock,
    ) -> None:  # fmt: skip
        """`identity` has name, path, role and labels."""
        self._identity = dict(identity)
        self._data_dir = data_dir
        self._status = status
        self._server_version = server_version
        self._clock = clock
        self._fixed: dict[str, Any] | None = None
        self._kept: dict[str, Any] = {}
        self._kept_ns = -FRESH_NS
        self._seen: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=RATE_SPAN_S + 1)

    def look(self, counts: Mapping[str, int]) -> None:
        """Once a second: how many samples each connector has received, which the rates are worked out from."""
        self._seen.append((self._clock.monotonic_ns(), counts))

    def facts(self) -> Mapping[str, Any]:
        """All facts as of now. Do not change them."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._kept_ns < FRESH_NS:
            return self._kept
        if self._fixed is None:
            self._fixed = {**self._identity, **_of_machine(self._server_version)}
        status = self._status()
        parts: dict[str, Callable[[], Any]] = {
            "disk": lambda: _disk(self._data_dir),
            "memory": lambda: _memory(status),
            "load": lambda: dict(zip(("one", "five", "fifteen"), os.getloadavg(), strict=True)),
            "connectors": lambda: {str(c["name"]): self._connector(c) for c in status["connectors"]},
            "streams": lambda: _streams(status),
            "flows": lambda: {str(f["name"]): {"state": f["state"], "version": f["version"]} for f in status["flows"]},
            "historian": lambda: history_facts(status),
            "commands": lambda: list(status["commands"]["types"]),
            "link": lambda: {k: v for k, v in status["uplink"].items() if v is not None},
            "alarms": lambda: [_alarm(alarm) for alarm in status["alarms"][:ALARMS_COUNT_MAX]],
            "uptime_s": lambda: (self._clock.now_ns() - int(status["started_ns"])) // 10**9,
            "time_ns": self._clock.now_ns,
        }
        self._kept = {**self._fixed, **_readable(parts)}
        self._kept_ns = now_ns
        return self._kept

    def _connector(self, status: Mapping[str, Any]) -> dict[str, Any]:
        """One connector; `state` is "ok" while it is connected."""
        name = str(status["name"])
        found: dict[str, Any] = {
            "type": status["type"],
            "state": "ok" if status["state"] == "connected" else status["state"],
            "opens": status["opens"],
            "samples": status["samples_received"],
            "samples_bad": status["samples_bad"],
            "samples_dead": status["samples_dead"],
            "source_gaps": status["source_gaps"],
        }
        if status["last_sample_ns"]:
            found["last_sample_age_s"] = max(0.0, (self._clock.now_ns() - status["last_sample_ns"]) / 1e9)
        if status["error"]:
            found["error"] = str(status["error"])[:ERROR_CHARS_MAX]
        if len(self._seen) > 1 and name in self._seen[0][1] and name in self._seen[-1][1]:
            (begin_ns, before), (end_ns, after) = self._seen[0], self._seen[-1]
            found["samples_per_s"] = round((after[name] - before[name]) * 1e9 / max(1, end_ns - begin_ns), 3)
        return found


def _readable(parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, read in parts.items():
        try:
            value = read()
        except _UNREADABLE:
            continue  # absent: a filter that asks for it says so
        if value is not None:
            found[name] = value
    return found


def _of_machine(server_version: Callable[[], str | None]) -> dict[str, Any]:
    """What does not change while the process runs."""
    versions = _readable(
        {
            "millstream": lambda: millstream.__version__,
            "python": platform.python_version,
            "nats_server": server_version,
        }
    )
    return {"version": versions, "os": _readable(_os_parts()), "hardware": _readable(_hardware_parts())}


def _os_parts() -> dict[str, Callable[[], Any]]:
    def release(key: str) -> Callable[[], str]:
        return lambda: platform.freedesktop_os_release()[key]

    return {
        "name": lambda: release("NAME")().removesuffix(" GNU/Linux"),
        "id": release("ID"),
        "version": release("VERSION_ID"),
        "kernel": platform.release,
        "hostname": platform.node,
    }


def _hardware_parts() -> dict[str, Callable[[], Any]]:
    return {
        "machine": platform.machine,
        "cpus": os.cpu_count,
        "memory_bytes": lambda: psutil.virtual_memory().total,
        "model": _model,
    }


def _model() -> str | None:
    for file in map(Path, _MODEL_FILES):
        try:
            text = file.read_text(encoding="utf-8", errors="replace").strip(" \n\0")
        except OSError:
            continue
        if text:
            return text[:ERROR_CHARS_MAX]
    return None


def _disk(folder: Path) -> dict[str, Any]:
    usage = shutil.disk_usage(folder)
    return {"free_bytes": usage.free, "total_bytes": usage.total, "free_ratio": round(usage.free / usage.total, 4)}


def _memory(status: Mapping[str, Any]) -> dict[str, Any]:
    memory = psutil.virtual_memory()
    found = {"total_bytes": memory.total, "available_bytes": memory.available}
    for name, key in (("node_bytes", "rss_mb"), ("server_bytes", "server_rss_mb")):
        if key in status:
            found[name] = int(status[key] * 1e6)
    return found


def _streams(status: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stream in status["streams"]:
        kind = str(stream["name"]).removeprefix(f"E_{status['name']}_").partition("_")[0]
        found[STREAM_NAMES.get(kind, kind.lower())] = {"messages": stream["messages"], "bytes": stream["bytes"]}
    return found


def _alarm(alarm: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": alarm["code"], "message": str(alarm["message"])[:ERROR_CHARS_MAX]}

"""The demo's plant: which devices there are, and the configuration files that read them."""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

SITE = "acme/plant1"
EDGE = "plant1"
SHDR_ITEMS = (
    "adapter_seq",
    "execution",
    "mode",
    "Xabs",
    "Yabs",
    "Zabs",
    "Srpm",
    "Fact",
    "program",
    "line",
    "partcount",
    "tool_id",
)
OPCUA_TAGS_COUNT = 20
MQTT_TOPICS = ("scale/count", "scale/weight")
WAVEFORM_SPEED = 2  # the recorded turning cell is replayed at this multiple of its own time


@dataclass(frozen=True, slots=True)
class Device:
    """One simulated device: its process arguments and the file where it keeps its own truth."""

    name: str
    module: str
    arguments: tuple[str, ...]

    def truth_file(self, folder: Path) -> Path:
        """Where the device writes what it produced."""
        return folder / f"{self.name}.truth.json"

    def command(self, folder: Path) -> list[str]:
        """Arguments behind ``python -m``."""
        return [self.module, "--port", "0", *self.arguments, "--paused", "--truth", str(self.truth_file(folder))]


def sample_data(name: str) -> Path:
    """A recording shipped with the package."""
    return Path(str(files("millstream.sim").joinpath("data", name)))


def free_port() -> int:
    """A port that was free a moment ago on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_json_yaml(path: Path, document: dict[str, Any]) -> None:
    """Write a configuration; JSON is YAML."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def write_secret(folder: Path) -> Path:
    """The secret that lets the edge in, made for this run."""
    path = folder / "edge.secret"
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return path

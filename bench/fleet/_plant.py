"""What the processes of this scenario agree on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from millstream.rig import new_secret, write_private

VALUE_EVERY_S = 5
RAW_CHANNELS = 8


def site_name(number: int) -> str:
    """The edges are s000, s001, ..."""
    return f"s{number:03}"


def secret_of(folder: Path, name: str) -> Path:
    """Where the secret of a site's leaf link is."""
    return folder / "secrets" / name


def hub_document(folder: Path, sites: int) -> dict[str, object]:
    """The configuration of a hub that knows so many sites, each by a secret that is written here."""
    (folder / "secrets").mkdir(mode=0o700)
    edges = []
    for name in map(site_name, range(sites)):
        secret = write_private(secret_of(folder, name), new_secret())
        edges.append({"name": name, "path": f"acme/{name}", "secret": {"file": str(secret)}})
    return {
        "hub": {"name": "hub", "data_dir": str(folder / "hub")}, "streams": {"max_bytes": "1GiB"}, "edges": edges,
        "historian": None,
    }  # fmt: skip


def connector(folder: Path, pause_max: str = "10s") -> dict[str, object]:
    """Its only connector; `pause_max` changes nothing but the configuration."""
    return {
        "name": "press", "type": "replay", "path": "press",
        "config": {"file": str(folder / "day.csv"), "loop": True, "times": "shift", "pause_max": pause_max},
        "tags": [{"name": "parts", "address": "parts"}],
    }  # fmt: skip


def write_recording(folder: Path) -> None:
    """An hour, one row each `VALUE_EVERY_S`."""
    at_s = range(0, 3600, VALUE_EVERY_S)
    rows = [f"2026-01-01T00:{s // 60:02}:{s % 60:02}Z,{n}" for n, s in enumerate(at_s)]
    (folder / "day.csv").write_text("\n".join(["time,parts", *rows]) + "\n", encoding="utf-8")


def raw_connector(folder: Path) -> dict[str, object]:
    """The recorded waveforms, stored at once as if the last minute had been them."""
    return {
        "name": "spindle", "type": "replay", "path": "spindle", "durability": "site",
        "config": {"file": str(folder / "raw.npz"), "times": "shift", "speed": "max"},
        "tags": [{"name": f"c{n}", "address": f"c{n}"} for n in range(RAW_CHANNELS)],
    }  # fmt: skip


def write_waveform(folder: Path, count: int, rate_hz: int) -> None:
    """Each sample is its number."""
    np.savez(folder / "raw.npz", rate_hz=rate_hz, **{f"c{n}": np.arange(count) for n in range(RAW_CHANNELS)})

"""What the processes of this scenario agree on."""

from __future__ import annotations

from pathlib import Path

ROWS = 3600


def site_name(number: int) -> str:
    """The edges are s000, s001, ..."""
    return f"s{number:03}"


def secret_of(folder: Path, name: str) -> Path:
    """Where the secret of a site's leaf link is."""
    return folder / "secrets" / name


def connector(folder: Path, pause_max: str = "2s") -> dict[str, object]:
    """Its only connector; `pause_max` changes nothing but the configuration."""
    return {
        "name": "press", "type": "replay", "path": "press",
        "config": {"file": str(folder / "day.csv"), "loop": True, "times": "shift", "pause_max": pause_max},
        "tags": [{"name": "parts", "address": "parts"}],
    }  # fmt: skip


def write_recording(folder: Path) -> None:
    """An hour, one row a second."""
    rows = [f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z,{n}" for n in range(ROWS)]
    (folder / "day.csv").write_text("\n".join(["time,parts", *rows]) + "\n", encoding="utf-8")

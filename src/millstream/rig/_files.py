"""Files that a plant on one machine starts from."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a configuration; JSON is YAML."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def write_private(path: Path, text: str) -> Path:
    """Write a secret, readable by its owner only."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def new_secret() -> str:
    """A secret for this run."""
    return secrets.token_urlsafe(24)

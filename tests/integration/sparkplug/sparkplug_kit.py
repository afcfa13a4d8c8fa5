"""Foreign Sparkplug programs, as the tests drive them."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parents[2] / "peers"


class ForeignCodec:
    """npm sparkplug-payload as a line service."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def encode(self, payload: dict[str, Any]) -> bytes:
        """Bytes of a payload in its own terms."""
        return base64.b64decode(self._ask({"encode": payload}))

    def decode(self, raw: bytes) -> dict[str, Any]:
        """A payload in its own terms."""
        found = self._ask({"decode": base64.b64encode(raw).decode()})
        assert isinstance(found, dict)
        return found

    def _ask(self, ask: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer["ok"]

"""What a worker process is told, in one line of JSON on its standard input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from millstream.bus import Credentials, tls_of
from millstream.config import FlowEntry
from millstream.kernel import ConfigError

SPEC_BYTES_MAX = 1 << 20


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One worker of one flow. `inputs` are the streams it reads, `output` the one it writes; `place` is the path that
    its records stand under; `tls` is what the server is checked against, as in a ``node.json``; `entry` the flow's
    section as in the file (paths made absolute); `has_origins` says that the inputs are a hub's; `modules` is the
    folder of modules by digest."""

    node: str
    place: str
    url: str
    user: str | None
    password: str | None
    creds_file: str | None = None
    tls: dict[str, str] | None = None
    inputs: list[str]
    output: str
    deadletters: str
    scratch: str
    entry: dict[str, Any]
    instance: str
    parent_pid: int = 0
    has_origins: bool = False
    modules: str = ""

    @property
    def credentials(self) -> Credentials:
        """How the worker logs in."""
        creds_file = Path(self.creds_file) if self.creds_file is not None else None
        return Credentials(self.user, self.password, creds_file, tls_of(self.tls))

    def flow_entry(self) -> FlowEntry:
        """The typed section."""
        return FlowEntry.model_validate(self.entry)


def encode_spec(spec: WorkerSpec) -> bytes:
    """One line."""
    return msgspec.json.encode(spec) + b"\n"


def decode_spec(line: bytes) -> WorkerSpec:
    """Raises ConfigError."""
    try:
        return msgspec.json.decode(line, type=WorkerSpec)
    except msgspec.DecodeError as error:
        raise ConfigError(f"not the order of a worker: {error}", next_step="workers are started by a node") from error

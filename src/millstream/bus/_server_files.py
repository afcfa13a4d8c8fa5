"""The files of a supervised server: secrets, generated configuration, pid, lock, ports; all below ``<data_dir>``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets as random_source
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from millstream.bus._server_config import ServerSecrets
from millstream.kernel import ConfigError, PlantError, bind_port, write_private

try:
    import fcntl
except ImportError:  # pragma: no cover - only on Windows, which has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

PROGRAM = "nats-server"


def make_directories(data_dir: Path) -> None:
    """Create what is missing below `data_dir`; raises PlantError when that cannot be written."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        for name in ("secrets", "server", "jetstream"):
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
            if not os.access(data_dir / name, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable", str(data_dir / name))
    except OSError as error:
        raise disk_error(error, data_dir) from error


def disk_error(error: OSError, data_dir: Path) -> PlantError:
    """What a failed access to the data directory means to a person."""
    next_step = "give the user the directory, or set `data_dir` to another"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        next_step = "free space on this disk, or set `data_dir` to another"
    return PlantError(
        "the data directory cannot be used",
        where=str(error.filename or data_dir),
        expected="a directory that this user can write",
        got=error.strerror or str(error),
        next_step=next_step,
        code="MS-0602",
    )


def load_secret(data_dir: Path, name: str) -> str:
    """The node's own secret `name`, made at random the first time."""
    path = data_dir / "secrets" / name
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        text = random_source.token_urlsafe(24)
        write_private(path, text + "\n")
    if not text:
        raise ConfigError(
            "a secret is empty", where=str(path), next_step="delete the file: a new secret is made at the next start"
        )
    return text


def load_secrets(data_dir: Path) -> ServerSecrets:
    """The secrets of the node's own clients."""
    return ServerSecrets(
        plant=load_secret(data_dir, "plant"),
        system=load_secret(data_dir, "system"),
        mqtt_setup=load_secret(data_dir, "mqtt-setup"),
    )


@contextlib.contextmanager
def hold_lock(data_dir: Path) -> Iterator[None]:
    """Own `data_dir` while in the block; the operating system gives it up when the process dies, however it dies."""
    path = data_dir / "server" / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                raise PlantError(
                    "the data directory belongs to a running node",
                    where=str(data_dir),
                    got=f"process {owner or 'unknown'}",
                    next_step="stop that node, or give this one its own `data_dir`",
                    code="MS-0603",
                ) from error
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def note_child(data_dir: Path, pid: int) -> None:
    """Remember the running server, so that an orphan is recognised at the next start."""
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return
    with contextlib.suppress(OSError):  # a full disk: the kernel ends the server with its node all the same
        write_private(data_dir / "server" / "pid.json", json.dumps({"pid": pid, "created": created}))


def find_orphan(data_dir: Path) -> psutil.Process | None:
    """The server that an earlier, killed node left running on this store: same pid, same start time, same program."""
    try:
        noted = json.loads((data_dir / "server" / "pid.json").read_text(encoding="utf-8"))
        process = psutil.Process(int(noted["pid"]))
        is_ours = abs(process.create_time() - float(noted["created"])) < 0.05 and PROGRAM in process.name()
        return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def end_process(process: psutil.Process, *, patience_s: float) -> None:
    """SIGTERM, and SIGKILL when that is not heeded within `patience_s`. Blocks."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(patience_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(patience_s)


def pick_ports(wanted: Mapping[str, int], remembered: Mapping[str, int], host: str) -> dict[str, int]:
    """Listener -> port: the one asked for, else the one of the last start when it is free, else any free one."""
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for name, port in wanted.items():
            if port == 0:
                probe = bind_port(host, remembered.get(name, 0)) or bind_port(host)
                assert probe is not None
                port = stack.enter_context(probe).getsockname()[1]
            ports[name] = port
    return ports


def load_ports(data_dir: Path) -> dict[str, int]:
    """The ports of the last start; empty when there was none."""
    try:
        raw = json.loads((data_dir / "server" / "ports.json").read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in raw.items()}
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def save_ports(data_dir: Path, ports: Mapping[str, int]) -> None:
    """Remember the ports for the next start."""
    write_private(data_dir / "server" / "ports.json", json.dumps(dict(ports)))


def store_room_bytes(data_dir: Path) -> int:
    """What streams below `data_dir` may take together: four fifths of what is free or already theirs."""
    used = sum(file.stat().st_size for file in (data_dir / "jetstream").rglob("*.blk") if file.exists())
    anchor = next(p for p in (data_dir, *data_dir.parents) if p.exists())
    return (shutil.disk_usage(anchor).free + used) * 4 // 5

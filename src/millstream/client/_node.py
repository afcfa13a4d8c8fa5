"""Which node to talk to: ``node.json`` of a running node, or an explicit URL."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millstream.bus import Credentials, tls_of
from millstream.kernel import ConfigError, NotFoundError, PlantError
from millstream.sdk import TlsFiles

NODE_FILE = "node.json"
NODE_VARIABLE = "MILLSTREAM_NODE"
URL_VARIABLE = "MILLSTREAM_URL"
TENANT_VARIABLE = "MILLSTREAM_TENANT"
PROVIDER = "provider"
"""In the place of a tenant: who runs a hub of tenants, and sees how they are."""
_NEAR = (".", "data", ".millstream")  # folders looked at when nobody names a node: the first one wins
_BELOW = (f"*/{NODE_FILE}", f"data/*/{NODE_FILE}")  # then these, which may be several


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node is and how to enter. The password never shows in a repr."""

    nats_url: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    role: str | None = None
    name: str | None = None
    path: str | None = None
    pid: int | None = None
    domain: str | None = None
    api_url: str | None = None
    file: Path | None = None
    creds_file: Path | None = None
    tenants: Path | None = None
    tls: TlsFiles | None = None
    member: str | None = None

    @property
    def credentials(self) -> Credentials:
        """How to log in."""
        return Credentials(self.user, self.password, self.creds_file, self.tls)

    @property
    def is_running(self) -> bool:
        """False when the process that wrote the file is gone; True when it lives or is on another machine."""
        return self.pid is None or is_process(self.pid)


def is_process(pid: int) -> bool:
    """True when a process of this number lives on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def find_node(
    node: str | os.PathLike[str] | None = None,
    *,
    url: str | None = None,
    user: str | None = None,
    password: str | None = None,
    creds_file: Path | None = None,
    tenant: str | None = None,
    tls: TlsFiles | None = None,
    environ: Mapping[str, str] | None = None,
) -> NodeAddress:
    """The node to talk to, and how to enter: with `creds_file`, or at a hub of tenants as `tenant` (PROVIDER: as who
    runs it). It is `url`, else `node` (a data directory or its node.json), else MILLSTREAM_URL, MILLSTREAM_NODE, else
    the node near here: its hub where edge and hub run on one machine. `tls` is what it is checked against, in the place
    of what its node.json says. Raises NotFoundError, ConfigError, with the next step."""
    env = os.environ if environ is None else environ
    if node is None and url is None:
        url = env.get(URL_VARIABLE) or None
        node = env.get(NODE_VARIABLE) or None
        if url is not None and node is not None:
            url = None  # the file knows more than the URL: role, name, credentials
    if url is not None:
        return replace(_from_url(url, user, password), creds_file=creds_file, tls=tls)
    found = read_node_file(Path(node)) if node is not None else _near(Path())
    if tls is not None:
        found = replace(found, tls=tls)
    if creds_file is not None:
        return replace(found, user=None, password=None, creds_file=creds_file)
    if found.tenants is None:
        return found
    return replace(found, creds_file=_tenant_creds(found.tenants, tenant or env.get(TENANT_VARIABLE)))


def _tenant_creds(folder: Path, tenant: str | None) -> Path:
    """The log-in of a hub to one of its tenants. Raises NotFoundError."""
    names = sorted(file.stem for file in folder.glob("*.creds") if file.stem not in ("system", PROVIDER))
    if tenant is None and len(names) == 1:
        tenant = names[0]
    if tenant not in (*names, PROVIDER):
        raise NotFoundError(
            "which tenant?" if tenant is None else "no tenant of this name", got=tenant,
            expected=", ".join(names) or "none is there yet",
            next_step=f"name one with --tenant or {TENANT_VARIABLE}", code="MS-0680",
        )  # fmt: skip
    return folder / f"{tenant}.creds"


def _near(here: Path) -> NodeAddress:
    """The node near `here`. Of several below it: what runs before what is left over, a hub (it sees all) before an
    edge."""
    for folder in _NEAR:
        if (here / folder / NODE_FILE).is_file():
            return read_node_file(here / folder)
    found = [read_node_file(file) for pattern in _BELOW for file in sorted(here.glob(pattern))]
    best = [node for node in found if node.is_running] or found
    best = [node for node in best if node.role != "edge"] or best
    if len(best) == 1:
        return best[0]
    if best:
        raise NotFoundError(
            "more than one node near here",
            got=", ".join(str(node.file and node.file.parent) for node in best),
            next_step=f"name one of them with --node or {NODE_VARIABLE}",
            code="MS-0680",
        )
    raise NotFoundError(
        "no node named, and none near here",
        next_step=(
            f"give its data directory with --node or {NODE_VARIABLE}, or its address with --url, or go to the folder "
            "of its configuration"
        ),
        code="MS-0680",
    )


def _from_url(url: str, user: str | None, password: str | None) -> NodeAddress:
    if "://" not in url:
        url = f"nats://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ConfigError("not the address of a node", expected='such as "nats://host:4222"', got=repr(parts.hostname))
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    bare = f"{parts.scheme}://{host}:{parts.port or 4222}"
    return NodeAddress(bare, user or parts.username, password or parts.password)


def read_node_file(path: Path) -> NodeAddress:
    """Read node.json (or the one in a data directory). Raises NotFoundError or ConfigError."""
    file = path / NODE_FILE if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            "no node.json here",
            where=str(file),
            next_step="start the node with `millstream edge -c FILE`, or name the data directory of one that runs",
            code="MS-0681",
        ) from error
    except PermissionError as error:
        raise PlantError(
            "node.json may not be read", where=str(file), next_step="run as the node's own user", code="MS-0681"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            "node.json cannot be read", where=str(file), got=str(error).lower(), code="MS-0681"
        ) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("nats_url"), str):
        raise ConfigError(
            "node.json has no nats_url", where=str(file), next_step="start the node again", code="MS-0681"
        )
    pid = raw.get("pid")
    return NodeAddress(
        raw["nats_url"], _text(raw, "user"), _text(raw, "password"), _text(raw, "role"), _text(raw, "name"),
        _text(raw, "path"), pid if isinstance(pid, int) else None, _text(raw, "domain"), _text(raw, "api_url"), file,
        tenants=Path(tenants) if (tenants := _text(raw, "tenants")) is not None else None,
        tls=tls_of(tls) if isinstance(tls := raw.get("tls"), dict) else None, member=_text(raw, "member"),
    )  # fmt: skip


def _text(raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    return value if isinstance(value, str) and value else None

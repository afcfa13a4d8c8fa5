"""What a nats-server is told: settings in, configuration text out. Pure: no I/O, no clock, no randomness.

The text is JSON, which nats-server's configuration language contains; so no quoting rule of its own is needed. What is
fixed here, and why (each was measured):

- ``sync_interval: always``: an acknowledged message is on disk. Without it a power loss takes the edge's last sequence
  back behind the hub's cursor, and what is written next is never forwarded.
- ``ignore_discovered_servers`` and ``no_advertise``: a leaf would else leave the address it was given (a proxy, a
  tunnel) for one that the hub advertises.
- ``isolate_leafnode_interest``: sites do not learn each other's subscriptions.
- deny lists of the remote: unsequenced namespace subjects and dead letters never cross as plain messages; only the
  streams' sources carry them, so nothing is stored twice. Live copies cross upwards, only where somebody listens and
  beside the sourcing, so that they do not queue behind a backlog; nothing stores them.
- short pings: a black-holed link is noticed in seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from millstream.bus._cluster_config import ClusterSettings, render_cluster
from millstream.bus._people_account import PEOPLE_ACCOUNT, people_account, people_exports
from millstream.bus._permissions import device_permissions, edge_permissions
from millstream.kernel import ConfigError
from millstream.sdk import TlsFiles

PLANT_ACCOUNT = "PLANT"
SYSTEM_ACCOUNT = "SYS"
PLANT_USER = "millstream"
MQTT_USER = "mqtt"
MQTT_SETUP_USER = "millstream-setup"
HUB_DOMAIN = "hub"
"""JetStream domain of every hub, so that an edge can ask its hub without knowing its name."""
SYSTEM_USER = "system"
LEAF_DENIED = ("uns.>", "fast.>", "flow.>", "dlq.>", "$KV.>", "$MQTT.>")
"""Subjects that never cross a leaf link as plain messages, in either direction."""
PING_INTERVAL_S = 5
PINGS_OUT_MAX = 2
LOGIN_TIMEOUT_S = 15  # the default of 2 s is short for a busy box or a satellite link
LOG_BYTES_MAX = 4_000_000  # a year of a healthy node fits; two rotated files are kept beside it
RESERVED_BYTES_MAX = 1 << 50
"""In operator mode each account has limits of its own, and the server refuses an account whose reservation exceeds what
is left: tenants that are added while it runs must fit. What the disk really has bounds each stream (`fit_bounds`)."""
ACCOUNTS_COUNT_MAX = 10_000
HANDSHAKE_S_MAX = 10  # its own 2 s are short for a storm of edges on a small machine
MEMORY_STORE_BYTES_MAX = 256_000_000  # of ours log-ins on their way live in memory streams; MQTT sessions may


@dataclass(frozen=True, slots=True)
class LeafUser:
    """One edge that may connect to this hub; `secret` is its password, `prefix` its place as a subject
    (``uns.v1.acme.plant1``): it may read the newest ledger records below it from the hub."""

    name: str
    secret: str = field(repr=False)
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class LeafListener:
    """Where a hub listens for its edges. `port` 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 0
    users: tuple[LeafUser, ...] = ()


@dataclass(frozen=True, slots=True)
class LeafRemote:
    """The hub that an edge forwards to, with user and password or with a creds file. `url` and `more_urls` are the
    members of one hub: the next is dialled when one is gone. `is_disabled` is used to hang up and dial again by a
    reload. With `tls`, or URLs that say ``tls``, it forwards to nobody without a certificate.

    `compression` is one fixed and cheap mode. nats-server's own choice, ``s2_auto``, takes the costliest when round
    trips are long, and they are long when the processors are busy: what should help held an edge back that caught up.
    """

    url: str
    user: str
    secret: str = field(default="", repr=False)
    compression: str = "s2_fast"
    is_disabled: bool = False
    creds_file: str | None = None
    tls: TlsFiles | None = None
    more_urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MqttUser:
    """A device's account on the MQTT listener. It publishes everywhere but into the namespace and the system subjects,
    and may read the live namespace."""

    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerTrust:
    """Operator mode: accounts and users are tokens, verified against the operator's key; the server keeps accounts that
    are pushed to it below `resolver_dir`."""

    operator_token: str
    system_account: str
    system_token: str
    resolver_dir: str


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the listeners show: `files`, good for `names`. Those in `asks` ("leaf", "mqtt") let in only who shows a
    certificate of ``files.ca_file``, too."""

    files: TlsFiles
    names: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One server, as a composition root asks for it.

    `domain` is the JetStream domain; left out, the name. Port 0 means any free port (the same again after a restart
    while it is free), None means no such listener. With `url` the server is given: nothing is generated or supervised,
    and `given_tls` is what it is checked against. With `people_secret` browsers have an account beside the plant's.
    """

    name: str
    domain: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    monitor_port: int = 0
    mqtt_port: int | None = None
    mqtt_host: str = "127.0.0.1"
    mqtt_users: tuple[MqttUser, ...] = ()
    websocket_port: int | None = None
    websocket_origins: tuple[str, ...] = ()
    people_secret: str | None = field(default=None, repr=False)
    leaf_listener: LeafListener | None = None
    leaf_remote: LeafRemote | None = None
    leaf_reconnect_s: float | None = None
    trust: ServerTrust | None = None
    tls: ServerTls | None = None
    max_file_bytes: int | None = None
    cluster: ClusterSettings | None = None
    url: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    given_tls: TlsFiles | None = None

    @property
    def js_domain(self) -> str:
        """The JetStream domain."""
        return self.domain or self.name

    @property
    def replicas(self) -> int:
        """Of each stream."""
        return self.cluster.replicas if self.cluster is not None else 1

    def with_ports(self, ports: Mapping[str, int]) -> ServerSettings:
        """The same with every listener's port filled in from `ports` (keys: client, monitor, leaf, mqtt, websocket)."""
        leaf = self.leaf_listener
        return replace(
            self,
            port=ports["client"],
            monitor_port=ports["monitor"],
            leaf_listener=replace(leaf, port=ports["leaf"]) if leaf else None,
            mqtt_port=ports["mqtt"] if self.mqtt_port is not None else None,
            websocket_port=ports["websocket"] if self.websocket_port is not None else None,
        )

    def wanted_ports(self) -> dict[str, int]:
        """Listener -> the port asked for (0: any)."""
        wanted = {"client": self.port, "monitor": self.monitor_port}
        if self.leaf_listener is not None:
            wanted["leaf"] = self.leaf_listener.port
        if self.mqtt_port is not None:
            wanted["mqtt"] = self.mqtt_port
        if self.websocket_port is not None:
            wanted["websocket"] = self.websocket_port
        return wanted


@dataclass(frozen=True, slots=True)
class ServerSecrets:
    """Made once per node, kept in ``<data_dir>/secrets``."""

    plant: str
    system: str
    mqtt_setup: str = ""

    def __repr__(self) -> str:
        return "ServerSecrets(***)"


MOVE_PAUSE_S = 1.0
"""Before an edge dials another box of its hub. A box that stops hands on its streams and then hangs up. Who leads a
stream next connects its sources 0.1 to 0.6 s later, from what is stored by then, and does the same with one whose edge
dials meanwhile: what that has under way by then is stored twice (nats-server 2.15.1)."""


def reconnect_interval_s(name: str) -> float:
    """0.5 to 1.5 s, fixed per site name, so that a fleet does not dial in step after a hub restart."""
    return 0.5 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") / 65535


def render_config(
    settings: ServerSettings, secrets: ServerSecrets, *, store_dir: str, log_file: str, is_mqtt_open: bool = True
) -> str:
    """The configuration file of a supervised server; all ports must be filled in.

    While `is_mqtt_open` is false the MQTT listener admits no device: until the stream that takes what they publish is
    connected, nats-server acknowledges a PUBLISH and drops it for want of interest.
    """
    devices = settings.mqtt_users if is_mqtt_open else ()
    if settings.mqtt_port is not None:
        settings = replace(settings, mqtt_users=(*devices, MqttUser(MQTT_SETUP_USER, secrets.mqtt_setup)))
    config: dict[str, Any] = {
        "server_name": settings.cluster.server_name if settings.cluster is not None else settings.name,
        "host": settings.host,
        "port": settings.port,
        "http": f"127.0.0.1:{settings.monitor_port}",
        "ping_interval": f"{PING_INTERVAL_S}s",
        "ping_max": PINGS_OUT_MAX,
        "authorization": {"timeout": LOGIN_TIMEOUT_S},
        "max_pending": 256_000_000,
        "log_file": log_file,
        "logfile_size_limit": LOG_BYTES_MAX,
        "logfile_max_num": 3,
        "jetstream": _jetstream(settings, store_dir),
    }
    if settings.trust is not None:
        config |= _operator_mode(settings.trust)
    else:
        config |= {"accounts": _accounts(settings, secrets), "system_account": SYSTEM_ACCOUNT}
    if settings.cluster is not None:
        config["cluster"] = {**render_cluster(settings.cluster), **_tls(settings, "cluster")}
    if (leafnodes := _leafnodes(settings)) is not None:
        config["leafnodes"] = leafnodes
    config |= _tls(settings, "client")
    if settings.mqtt_port is not None:
        config["mqtt"] = {
            "host": settings.mqtt_host,
            "port": settings.mqtt_port,
            "ack_wait": "5s",
            "max_ack_pending": 1000,
            "authorization": {"timeout": LOGIN_TIMEOUT_S},
            **({} if settings.cluster is None else {"stream_replicas": settings.cluster.replicas}),
            **_tls(settings, "mqtt"),
        }
    if settings.websocket_port is not None:
        secured = _tls(settings, "websocket") or {"no_tls": True}
        config["websocket"] = {"host": settings.host, "port": settings.websocket_port, **secured}
        if settings.websocket_origins:
            config["websocket"]["allowed_origins"] = [origin.rstrip("/") for origin in settings.websocket_origins]
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"


def _tls(settings: ServerSettings, listener: str) -> dict[str, Any]:
    if settings.tls is None:
        return {}
    asks = listener in settings.tls.asks
    return {"tls": {**_tls_files(settings.tls.files), "timeout": HANDSHAKE_S_MAX, **({"verify": True} if asks else {})}}


def _tls_files(files: TlsFiles) -> dict[str, str]:
    """A certificate without a key of its own has it in the same file."""
    named = {"cert_file": files.certificate, "key_file": files.key or files.certificate, "ca_file": files.ca_file}
    return {key: str(path) for key, path in named.items() if path is not None}


def _operator_mode(trust: ServerTrust) -> dict[str, Any]:
    return {
        "operator": trust.operator_token,
        "system_account": trust.system_account,
        "resolver": {
            "type": "full", "dir": trust.resolver_dir, "allow_delete": True, "interval": "2m",
            "limit": ACCOUNTS_COUNT_MAX,
        },
        "resolver_preload": {trust.system_account: trust.system_token},
    }  # fmt: skip


def _jetstream(settings: ServerSettings, store_dir: str) -> dict[str, Any]:
    jetstream: dict[str, Any] = {
        "store_dir": store_dir,
        "domain": settings.js_domain,
        "sync_interval": "always",
        "max_mem": MEMORY_STORE_BYTES_MAX,
    }
    if settings.trust is not None:
        return jetstream | {"max_mem": RESERVED_BYTES_MAX, "max_file": RESERVED_BYTES_MAX}
    if settings.max_file_bytes is not None:
        jetstream["max_file"] = settings.max_file_bytes
    return jetstream


def _accounts(settings: ServerSettings, secrets: ServerSecrets) -> dict[str, Any]:
    users: list[dict[str, Any]] = [{"user": PLANT_USER, "password": secrets.plant}]
    users += [_mqtt_user(user) for user in settings.mqtt_users]
    if settings.leaf_listener is not None:
        users += [_leaf_user(user, settings.js_domain) for user in settings.leaf_listener.users]
    names = [user["user"] for user in users]
    if len(set(names)) < len(names):
        raise ConfigError(
            "a user name stands twice",
            expected=f'unique names of edges and MQTT users, none of them "{PLANT_USER}"',
            got=", ".join(sorted({name for name in names if names.count(name) > 1})),
        )
    accounts: dict[str, Any] = {
        PLANT_ACCOUNT: {"jetstream": "enabled", "users": users},
        SYSTEM_ACCOUNT: {"users": [{"user": SYSTEM_USER, "password": secrets.system}]},
    }
    if settings.people_secret is not None:
        accounts[PLANT_ACCOUNT]["exports"] = people_exports()
        accounts[PEOPLE_ACCOUNT] = people_account(settings.people_secret, PLANT_ACCOUNT)
    return accounts


def _leaf_user(user: LeafUser, hub: str) -> dict[str, Any]:
    return {"user": user.name, "password": user.secret, **edge_permissions(user.name, user.prefix, hub).as_config()}


def _mqtt_user(user: MqttUser) -> dict[str, Any]:
    return {"user": user.name, "password": user.secret, **device_permissions().as_config()}


def _leafnodes(settings: ServerSettings) -> dict[str, Any] | None:
    if settings.leaf_listener is None and settings.leaf_remote is None:
        return None
    leafnodes: dict[str, Any] = {}
    if (listener := settings.leaf_listener) is not None:
        leafnodes |= {
            "host": listener.host,
            "port": listener.port,
            "no_advertise": True,
            "isolate_leafnode_interest": True,
            "compression": "accept",  # as the edge asks; the hub's own choice is the costliest where it is slow itself
            "authorization": {"timeout": LOGIN_TIMEOUT_S},
            **_tls(settings, "leaf"),
        }
    if (remote := settings.leaf_remote) is not None:
        pause_s = MOVE_PAUSE_S if remote.more_urls else 0.0
        interval_s = settings.leaf_reconnect_s or pause_s + reconnect_interval_s(settings.name)
        leafnodes["reconnect"] = f"{interval_s * 1000:.0f}ms"
        login = {"credentials": remote.creds_file} if remote.creds_file is not None else {}
        leafnodes["remotes"] = [
            {
                "urls": [_with_credentials(remote, url) for url in (remote.url, *remote.more_urls)],
                **login,
                **({"tls": {**_tls_files(remote.tls), "timeout": HANDSHAKE_S_MAX}} if remote.tls is not None else {}),
                "account": PLANT_ACCOUNT,
                "ignore_discovered_servers": True,
                "deny_imports": list(LEAF_DENIED),
                "deny_exports": list(LEAF_DENIED),
                "compression": remote.compression,
                "disabled": remote.is_disabled,
            }
        ]
    return leafnodes


def _with_credentials(remote: LeafRemote, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("nats", "tls", "ws", "wss") or not parts.hostname:
        raise ConfigError(
            "not the address of a hub",
            where="uplink.url",
            expected='for example "nats://hub.example:7422"',
            got=repr(url),
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = f"{host}:{parts.port or 7422}"
    if remote.creds_file is None:
        netloc = f"{quote(remote.user, safe='')}:{quote(remote.secret, safe='')}@{netloc}"
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))

"""From an edge file to what the parts of the node want. Resolves secrets; reads the disk's room."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from millstream.bus import (
    ClusterSettings,
    LeafRemote,
    ServerSettings,
    ServerTls,
    StreamBounds,
    disk_error,
    read_creds,
)
from millstream.config import EdgeConfig, SiteStreamConfig, StreamConfig, UplinkConfig
from millstream.edge._forward_settings import ForwardSettings
from millstream.kernel import ConfigError
from millstream.sdk import TlsFiles

UPLINK_SECRET = "uplink"  # noqa: S105 - the name of a file, not a secret
SLACK_BYTES = 2 << 30  # dead letters and what MQTT sessions need, beside the configured bounds


def server_settings(config: EdgeConfig, *, room_bytes: int | None = None) -> ServerSettings:
    """The nats-server. With `room_bytes` its streams may grow into all that the disk can give, so that another
    configuration can raise their bounds without a restart. Raises ConfigError when a secret cannot be read."""
    server, tls = config.server, config.tls
    has_pages = config.api is not None and server.url is None
    password = server.secret.resolve() if server.secret is not None else None
    return ServerSettings(
        name=config.edge.name,
        host=server.host,
        port=server.port,
        mqtt_port=server.mqtt_port,
        mqtt_host=server.host,
        monitor_port=server.monitor_port or 0,
        websocket_port=0 if server.websocket_port is None and has_pages else server.websocket_port,
        people_secret=secrets.token_urlsafe(24) if has_pages else None,
        max_file_bytes=max(_file_bytes(config), (room_bytes or 0) + SLACK_BYTES),
        leaf_remote=leaf_remote(config) if config.uplink is not None and server.url is None else None,
        tls=None if tls is None else ServerTls(tls.files, tls.names_at(server.host), tls.client_certificates),
        url=server.url,
        user=server.user,
        password=password,
        given_tls=TlsFiles(ca_file=server.ca_file) if server.ca_file is not None else None,
        cluster=_cluster(config),
    )


def _cluster(config: EdgeConfig) -> ClusterSettings | None:
    """This box's place among the site's. Raises ConfigError when the secret cannot be read."""
    cluster = config.cluster
    if cluster is None:
        return None
    secret = cluster.secret.resolve()
    return ClusterSettings(config.edge.name, cluster.member, cluster.members, secret, cluster.host, cluster.kept_on)


def _file_bytes(config: EdgeConfig) -> int:
    throughput = config.streams.throughput or StreamConfig()
    site_bytes = (config.streams.site or SiteStreamConfig()).max_bytes if _has_site(config) else 0
    flow_bytes = config.streams.flow_max_bytes if config.flows else 0
    return config.streams.integrity.max_bytes + throughput.max_bytes + site_bytes + flow_bytes + SLACK_BYTES


def leaf_remote(config: EdgeConfig) -> LeafRemote | None:
    """The hub to forward to. Without a secret in the file, ``data_dir/secrets/uplink`` is looked for."""
    uplink = config.uplink
    if uplink is None:
        return None
    if uplink.credentials is not None:
        path = uplink.credentials.absolute()
        read_creds(path)  # missing or broken: said now, with the path
        return LeafRemote(
            uplink.url, config.edge.name, creds_file=str(path), tls=uplink.tls, more_urls=uplink.more_urls
        )
    secret, user = _uplink_secret(uplink, config.edge.data_dir), uplink.user or config.edge.name
    return LeafRemote(uplink.url, user, secret, tls=uplink.tls, more_urls=uplink.more_urls)


def _uplink_secret(uplink: UplinkConfig, data_dir: Path) -> str:
    if uplink.secret is not None:
        return uplink.secret.resolve()
    path = data_dir / "secrets" / UPLINK_SECRET
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            "the uplink has no secret",
            where="uplink.secret",
            expected=f"a reference, or the file {path}",
            next_step="copy the password that the hub has for this edge",
            code="MS-0103",
        ) from error


def forward_settings(config: EdgeConfig, *, room_bytes: int | None) -> ForwardSettings:
    """Streams and uplink."""
    throughput = config.streams.throughput
    if throughput is None and any(entry.durability == "throughput" for entry in config.connectors):
        throughput = StreamConfig()
    site = config.streams.site or SiteStreamConfig()
    return ForwardSettings(
        edge=config.edge.name,
        path=config.path,
        data_dir=config.edge.data_dir,
        integrity=_bounds(config.streams.integrity),
        throughput=_bounds(throughput) if throughput is not None else None,
        site=StreamBounds(site.max_bytes, site.max_age, "drop_oldest") if _has_site(config) else None,
        flow=StreamBounds(config.streams.flow_max_bytes) if config.flows else None,
        has_mqtt=config.server.mqtt_port is not None and config.server.url is None,
        has_uplink=config.uplink is not None,
        room_bytes=room_bytes,
    )


def _has_site(config: EdgeConfig) -> bool:
    return config.streams.site is not None or any(entry.durability == "site" for entry in config.connectors)


def _bounds(stream: StreamConfig) -> StreamBounds:
    return StreamBounds(stream.max_bytes, stream.max_age, stream.when_full)


async def make_data_dir(path: Path) -> None:
    """Create the folder. Raises PlantError."""
    try:
        await asyncio.to_thread(path.mkdir, parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path) from error

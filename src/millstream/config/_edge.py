"""What an edge file holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, InstanceOf, SerializeAsAny, WithJsonSchema, model_validator

from millstream.config._cluster import ClusterConfig
from millstream.config._flow import FLOWS_COUNT_MAX, FlowEntry, duration_or_never
from millstream.config._historian import EdgeHistorianConfig
from millstream.config._types import (
    Address,
    BufferSize,
    EdgeName,
    Host,
    Name,
    PathText,
    Port,
    Section,
    Url,
    check_foreign,
    check_ports,
)
from millstream.model import AssetPath, TagPath
from millstream.sdk import ConfigPath, ConnectorConfig, Duration, SecretRef, Tag, TlsFiles

CONNECTORS_COUNT_MAX = 256  # one supervised task and one link each; more belongs on a second edge
TAGS_COUNT_MAX = 100_000  # of one connector
LABELS_COUNT_MAX = 64
_NAMELESS = ("0.0.0.0", "::", "127.0.0.1", "::1", "localhost")
URLS_COUNT_MAX = 8  # a cluster has five members at most
LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
LabelText = Annotated[str, Field(max_length=256)]


class EdgeIdentity(Section):
    """Who this edge is and where it keeps its data."""

    name: EdgeName
    """Unique in the fleet: streams, domain and credentials are named after it."""
    path: PathText
    """The place of the site, e.g. `acme/plant1`; the edge publishes only below it."""
    data_dir: ConfigPath
    """Folder of streams, credentials and node.json; on a disk that honours sync."""
    labels: dict[LabelName, LabelText] = Field(default_factory=dict, max_length=LABELS_COUNT_MAX)
    """What a selection of the fleet may ask for, such as `zone: south`."""


class EdgeServer(Section):
    """The nats-server of the edge: supervised by it, or one that runs already (`url`)."""

    host: Host = "127.0.0.1"
    """Address that the listeners bind to."""
    port: Port = 0
    """Client port."""
    mqtt_port: Port | None = None
    """Port of the MQTT 3.1.1 listener; left out: no listener."""
    monitor_port: Port | None = None
    """Port of nats-server's monitoring; left out: none."""
    websocket_port: Port | None = None
    """Port for browsers; left out: with `api` a free one, else none."""
    url: Url | None = None
    """Use this server instead of starting one."""
    user: str | None = None
    """User for `url`."""
    secret: SecretRef | None = None
    """Password for `url`."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM that `url` is checked against."""

    @model_validator(mode="after")
    def _consistent(self) -> EdgeServer:
        check_ports({
            "port": self.port, "mqtt_port": self.mqtt_port, "monitor_port": self.monitor_port,
            "websocket_port": self.websocket_port,
        })  # fmt: skip
        check_foreign(self.url, self.user, self.secret, self.ca_file)
        return self


class ApiConfig(Section):
    """The HTTP interface."""

    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Port = 0
    """Port to listen on."""
    role: Literal["viewer", "engineer", "commander"] = "engineer"
    """What whoever has the token of a hub without tenants may do: look; also act on alarms, stops, dead letters and
    configurations; also write to machines and send commands. At an edge one only looks."""


class TlsConfig(Section):
    """What the listeners of this node show: client, leaf, MQTT and WebSocket port, the HTTP interface, and the boxes of
    a cluster to one another. Files that are replaced are taken without a restart."""

    certificate: ConfigPath
    """Certificate in PEM, with those between it and its authority behind it."""
    key: ConfigPath | None = None
    """Its private key in PEM, without a password, readable by its owner only; left out: it stands in the certificate's
    file."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM, by which clients and edges know this node; two while one replaces the other. Left out: the
    system's."""
    names: tuple[Host, ...] = ()
    """Host names and addresses by which others reach this node: the certificate must be for each; left out: `host`."""
    client_certificates: tuple[Literal["leaf", "mqtt"], ...] = ()
    """Listeners that let in only who shows a certificate from `ca_file`, beside password or token."""

    @model_validator(mode="after")
    def _whom_to_believe(self) -> TlsConfig:
        if self.client_certificates and self.ca_file is None:
            raise ValueError("'client_certificates' needs 'ca_file': whose certificates are let in")
        return self

    @property
    def files(self) -> TlsFiles:
        """As those take them who use them."""
        return TlsFiles(ca_file=self.ca_file, certificate=self.certificate, key=self.key)

    def names_at(self, host: str) -> tuple[str, ...]:
        """The names that the certificate must be for, with listeners at `host`. At loopback and at all addresses nobody
        can tell."""
        return self.names or (() if host in _NAMELESS else (host,))


class UplinkConfig(Section):
    """The link to the hub."""

    url: Url
    """The hub's leaf port, e.g. `tls://hub.example:7422`; `nats://` for a hub without TLS."""
    more_urls: tuple[Url, ...] = Field(default=(), max_length=URLS_COUNT_MAX)
    """Those of the other boxes when the hub is several: the next is dialled when one is gone."""
    user: str | None = None
    """User that the hub knows this edge by; left out: the edge's name."""
    secret: SecretRef | None = None
    """Password of this edge at the hub."""
    credentials: ConfigPath | None = None
    """What `millstream edge join` stored; instead of user and password."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM: a hub whose certificate is of no other is refused. Left out, with `tls://`: the system's."""
    certificate: ConfigPath | None = None
    """Certificate of this edge in PEM, for a hub that asks for one."""
    key: ConfigPath | None = None
    """Its private key; left out: it stands in the certificate's file."""

    @property
    def tls(self) -> TlsFiles | None:
        """None for a hub without TLS."""
        if self.ca_file is None and urlsplit(self.url).scheme not in ("tls", "wss"):
            return None
        return TlsFiles(ca_file=self.ca_file, certificate=self.certificate, key=self.key)

    @model_validator(mode="after")
    def _secured(self) -> UplinkConfig:
        if urlsplit(self.url).scheme == "ws" and self.ca_file is not None:
            raise ValueError("'ca_file' with 'ws://': write 'wss://'")
        if self.certificate is not None and self.tls is None:
            raise ValueError("'certificate' needs a URL with 'tls://'")
        if self.key is not None and self.certificate is None:
            raise ValueError("'key' needs 'certificate'")
        if any(urlsplit(url).scheme != urlsplit(self.url).scheme for url in self.more_urls):
            raise ValueError("'url' and 'more_urls' begin differently: a hub is reached with TLS everywhere or nowhere")
        return self

    @model_validator(mode="after")
    def _one_way_in(self) -> UplinkConfig:
        if self.credentials is not None and (self.user is not None or self.secret is not None):
            raise ValueError("'credentials' stand instead of 'user' and 'secret'")
        return self


class StreamConfig(Section):
    """Bounds of one buffer on the edge's disk."""

    max_bytes: BufferSize = 1 << 30
    """Bytes on disk."""
    max_age: Duration | None = None
    """Age at which data is dropped; left out: never by age."""
    when_full: Literal["block", "drop_oldest", "thin"] = "block"
    """`block` holds the sources back, `drop_oldest` drops the oldest data, `thin` keeps every other sample."""


class SiteStreamConfig(Section):
    """Bounds of the buffer whose data stays at the site. The oldest data goes first."""

    max_bytes: BufferSize = 1 << 30
    """Bytes on disk."""
    max_age: Duration | None = None
    """Age at which data is dropped; left out: never by age."""


class StreamsConfig(Section):
    """The buffers, one a class of durability."""

    integrity: StreamConfig = StreamConfig(max_bytes=2 << 30)
    """Synced to disk before a source is acknowledged."""
    throughput: StreamConfig | None = None
    """Lazily synced; made when a connector asks for it."""
    site: SiteStreamConfig | None = None
    """Lazily synced, and never forwarded; made when a connector asks for it."""
    flow_max_bytes: BufferSize = 1 << 30
    """Bytes on disk of what flows say and of their state; what is no longer needed goes first."""


class ScaleConfig(Section):
    """Linear scale: value x factor + offset. Integers stay exact when factor and offset are integers."""

    factor: int | float = 1
    """Engineering units per raw unit."""
    offset: int | float = 0
    """Added after the factor."""

    @model_validator(mode="after")
    def _useful(self) -> ScaleConfig:
        if self.factor == 0 or any(x != x or abs(x) == float("inf") for x in (self.factor, self.offset)):
            raise ValueError("a scale needs a finite factor other than 0 and a finite offset")
        return self


class DeadbandConfig(Section):
    """Changes of numbers smaller than this are not sent; a change of quality or type always is."""

    absolute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """In the tag's unit, after scaling."""
    percent: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)
    """Of the last sent value."""

    @model_validator(mode="after")
    def _one(self) -> DeadbandConfig:
        if (self.absolute is None) == (self.percent is None):
            raise ValueError("a deadband needs exactly one of 'absolute' and 'percent'")
        return self


class WriteConfig(Section):
    """That a tag may be written, and how. A tag without this section is never written."""

    interval: Duration = Field(default=1.0, ge=0.05)
    """Shortest time between two writes; what comes sooner is refused."""
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    """Smallest value, in the tag's unit."""
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    """Largest value, in the tag's unit."""
    allow_null: bool = False
    """Whether a null may be written too: BACnet gives the priority back by it, OPC UA empties the value."""
    read_back: Duration | None = 2.0
    """How long the machine may take to show what was written; `null`: the value is not read back."""
    lifetime_max: Duration = Field(default=60.0, gt=0)
    """Longest time that a request may ask to stay valid for."""

    @model_validator(mode="after")
    def _ordered(self) -> WriteConfig:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("'minimum' is above 'maximum'")
        return self


class TagConfig(Section):
    """One tag: from an address in the source to a place in the namespace."""

    name: str = Field(min_length=1)
    """`group/.../name` below the tag's path."""
    address: Address
    """Where the source has it, in the connector's notation."""
    path: PathText | None = None
    """Place below the connector's, or in full when it begins with the edge's path or with `/`."""
    unit: str | None = Field(default=None, max_length=64)
    """As pint writes it: `degC`, `mm/s`, `rpm`."""
    description: str | None = Field(default=None, max_length=1024)
    """For people."""
    scale: ScaleConfig | None = None
    """From raw to engineering value."""
    deadband: DeadbandConfig | None = None
    """Smallest change worth sending."""
    sampling_interval: Duration | None = None
    """How often the source is looked at; left out: the connector's."""
    publishing_interval: Duration | None = None
    """How long samples are collected into one message; left out: the connector's."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The connector's own options of a tag."""
    write: WriteConfig | None = None
    """That the tag may be written; left out: never."""


class ConnectorEntry(Section):
    """One link to one source."""

    name: Name
    """Unique in this edge."""
    type: str
    """Which connector: `opcua`, `modbus`, `s7`, `ethernet_ip`, `bacnet`, `text`, `mqtt`,
    `mtconnect`, `replay` or an installed one."""
    profile: str | None = None
    """A device profile of the connector (`millstream profiles`): its tags are read, and those listed under tags with
    the same name change them key by key."""
    path: PathText | None = None
    """Place of its tags: below the edge's path, or in full when it begins with that or with `/`."""
    durability: Literal["integrity", "throughput", "site"] = "integrity"
    """`integrity`: on disk before acknowledged. `throughput`: faster, a power failure may cost the last moments.
    `site`: likewise, and it stays at the site: flows and the edge's history read it, the hub gets what it asks for.
    At a site of several boxes all are as safe as `integrity`."""
    sampling_interval: Duration = 1.0
    """How often its tags are looked at."""
    publishing_interval: Duration | None = None
    """How long samples of a tag are collected into one message; left out: each sample is sent at once."""
    config: SerializeAsAny[InstanceOf[ConnectorConfig]] | dict[str, Any] = Field(default_factory=dict)
    """The connector's own configuration."""
    tags: tuple[TagConfig, ...] = Field(default=(), max_length=TAGS_COUNT_MAX)
    """What to read; sources that name their data themselves may need none."""


@dataclass(frozen=True, slots=True)
class MappedTag:
    """A tag of a connector with all defaults filled in. `tag.key` is the text form of `path`."""

    tag: Tag
    path: TagPath
    config: TagConfig


class ManagedConfig(Section):
    """Whether and how far the hub may configure this edge: its connectors, flows and streams."""

    accept: bool = True
    """Take configurations from the hub; with false this file alone counts."""
    roots: tuple[ConfigPath, ...] = ()
    """Folders whose files a configuration from the hub may name, beside the folder of this file."""


class TracingConfig(Section):
    """Which messages carry a W3C `traceparent`, by which other systems know them again."""

    every: Annotated[
        float | Literal["never"],
        BeforeValidator(duration_or_never),
        WithJsonSchema({"type": "string", "examples": ["1s", "0s", "never"]}),
    ] = 1.0
    """Of each connector the first message after so long; `0s`: every message, at 70 bytes each; `never`: none."""


class EdgeConfig(Section):
    """An edge file."""

    edge: EdgeIdentity
    """Identity."""
    server: EdgeServer = EdgeServer()
    """The nats-server."""
    tls: TlsConfig | None = None
    """TLS of the edge's own listeners; left out: in clear."""
    uplink: UplinkConfig | None = None
    """The hub; left out: the edge works alone."""
    managed: ManagedConfig = ManagedConfig()
    """Configuration by the hub."""
    streams: StreamsConfig = StreamsConfig()
    """Store and forward."""
    connectors: tuple[ConnectorEntry, ...] = Field(default=(), max_length=CONNECTORS_COUNT_MAX)
    """The sources."""
    flows: tuple[FlowEntry, ...] = Field(default=(), max_length=FLOWS_COUNT_MAX)
    """What is worked out here."""
    historian: EdgeHistorianConfig | None = None
    """History at the edge itself; left out: none."""
    api: ApiConfig | None = None
    """HTTP, with the console for this site; left out: none."""
    tracing: TracingConfig = TracingConfig()
    """Traces."""
    cluster: ClusterConfig | None = None
    """The boxes that are this edge together; left out: this one alone."""

    @model_validator(mode="after")
    def _one_box_or_several(self) -> EdgeConfig:
        if self.cluster is None:
            return self
        if self.server.url is not None:
            raise ValueError(
                "'server.url' does not work with 'cluster': how a server of others syncs, nobody can check"
            )
        return self

    @model_validator(mode="after")
    def _served(self) -> EdgeConfig:
        if self.api is not None and self.historian is None:
            raise ValueError("'api' serves the history, and there is none: add a 'historian' section")
        return self

    @property
    def path(self) -> AssetPath:
        """The place of the site."""
        return AssetPath.parse(self.edge.path)

    def connector_path(self, entry: ConnectorEntry) -> AssetPath:
        """The place of a connector's tags."""
        return join_path(self.path, self.path, entry.path)

    def mapped_tags(self, entry: ConnectorEntry) -> list[MappedTag]:
        """The tags of a connector, in order, with places and intervals filled in."""
        place = self.connector_path(entry)
        sampling_s, publishing_s = entry.sampling_interval, entry.publishing_interval
        return [map_tag(self.path, place, tag, sampling_s, publishing_s) for tag in entry.tags]


def map_tag(
    site: AssetPath, place: AssetPath, tag: TagConfig, sampling_s: float = 1.0, publishing_s: float | None = None
) -> MappedTag:
    """Fill the defaults of one tag. Raises DecodeError when place and name are no tag path."""
    path = TagPath.parse(f"{join_path(site, place, tag.path)}:{tag.name}")
    sampling = tag.sampling_interval if tag.sampling_interval is not None else sampling_s
    publishing = tag.publishing_interval if tag.publishing_interval is not None else publishing_s
    options: Mapping[str, Any] = tag.options
    return MappedTag(Tag(str(path), tag.address, sampling, publishing or 0.0, options), path, tag)


def join_path(site: AssetPath, base: AssetPath, text: str | None) -> AssetPath:
    """`text` below `base`; from the root when it begins with a slash or with `site`. Raises DecodeError."""
    if text is None:
        return base
    path = AssetPath.parse(text.removeprefix("/"))
    if text.startswith("/") or site.contains(path):
        return path
    return AssetPath(base.levels + path.levels)

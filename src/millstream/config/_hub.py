"""What a hub file holds, and the file of a single machine that is both."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from millstream.config._cluster import ClusterConfig
from millstream.config._edge import (
    CONNECTORS_COUNT_MAX,
    ApiConfig,
    ConnectorEntry,
    EdgeConfig,
    EdgeIdentity,
    EdgeServer,
    ManagedConfig,
    StreamsConfig,
    TlsConfig,
    TracingConfig,
    UplinkConfig,
)
from millstream.config._flow import FLOWS_COUNT_MAX, FlowEntry
from millstream.config._historian import HubHistorianConfig
from millstream.config._types import (
    BufferSize,
    EdgeName,
    Host,
    HttpUrl,
    Name,
    PathText,
    Port,
    Section,
    Url,
    check_foreign,
    check_ports,
    is_loopback,
)
from millstream.sdk import ConfigPath, Duration, SecretRef

EDGES_COUNT_MAX = 2000  # sources of one hub; more needs a second hub or a cluster
TENANTS_COUNT_MAX = 1000  # as many have a section of their own


class HubIdentity(Section):
    """Who this hub is and where it keeps its data."""

    name: Name
    """Unique in the fleet."""
    data_dir: ConfigPath
    """Folder of streams, credentials, history and node.json."""


class HubServer(Section):
    """The nats-server of the hub: supervised by it, or one that runs already (`url`)."""

    host: Host = "127.0.0.1"
    """Address that the listeners bind to."""
    port: Port = 0
    """Client port."""
    leaf_port: Port = 0
    """Port that the edges connect to."""
    websocket_port: Port | None = None
    """Port for browsers; left out: with `api` a free one, else none."""
    websocket_origins: tuple[HttpUrl, ...] = ()
    """Pages, by their origin such as `https://plant.example`, that a browser may connect from; left out: any."""
    mqtt_port: Port | None = None
    """Port of the MQTT 3.1.1 listener; left out: none."""
    monitor_port: Port | None = None
    """Port of nats-server's monitoring; left out: none."""
    url: Url | None = None
    """Use this server instead of starting one."""
    user: str | None = None
    """User for `url`."""
    secret: SecretRef | None = None
    """Password for `url`."""
    ca_file: ConfigPath | None = None
    """Authorities in PEM that `url` is checked against."""

    @model_validator(mode="after")
    def _consistent(self) -> HubServer:
        ports = {
            name: getattr(self, name) for name in ("port", "leaf_port", "websocket_port", "mqtt_port", "monitor_port")
        }
        check_ports(ports)
        check_foreign(self.url, self.user, self.secret, self.ca_file)
        return self


class EdgeAccess(Section):
    """An edge that may report to this hub."""

    name: EdgeName
    """As in the edge's own file."""
    path: PathText
    """The place it may publish below."""
    secret: SecretRef | None = None
    """Its password; left out: the hub makes one at `data_dir/secrets/edges/<name>`."""


class OidcRule(Section):
    """Who of an identity provider's people is what here. The first rule that fits holds."""

    claim: Annotated[str, Field(min_length=1, max_length=128)]
    """A claim of the token, such as `groups`."""
    value: Annotated[str, Field(min_length=1, max_length=256)]
    """What the claim is, or holds."""
    tenant: Name
    """Whose data."""
    role: Literal["viewer", "engineer", "commander"]
    """What the person may do."""
    paths: Annotated[tuple[PathText, ...], Field(max_length=8)] = ()
    """What the person sees, and all below; left out: the whole tenant."""


class OidcConfig(Section):
    """An OpenID Connect provider that people log in with; its redirect address for this hub is
    `<public_url>/api/v1/oidc/<name>/callback`."""

    name: Name
    """In addresses and in the audit."""
    issuer: HttpUrl
    """As the provider names itself; `http` on this machine only."""
    client_id: Annotated[str, Field(min_length=1, max_length=256)]
    """What the provider calls this hub."""
    secret: SecretRef | None = None
    """Of this hub at the provider; left out: it is a public client, which PKCE alone protects."""
    user_claim: Annotated[str, Field(min_length=1, max_length=128)] = "preferred_username"
    """The claim that names a person; `sub` where it is missing."""
    scopes: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)] = ("openid", "profile")
    """What the provider is asked for."""
    ca: ConfigPath | None = None
    """Certificates of the authority that signed the provider's; left out: those of this machine."""
    rules: Annotated[tuple[OidcRule, ...], Field(min_length=1, max_length=500)]
    """Who is what."""

    @model_validator(mode="after")
    def _with_tls(self) -> OidcConfig:
        if self.issuer.startswith("http:") and not is_loopback(urlsplit(self.issuer).hostname or ""):
            raise ValueError("'issuer' without TLS: what it says of people could be anybody's; expected https")
        return self


class LoginConfig(Section):
    """How people log in at the API of a hub with tenants."""

    session: Duration = Field(default=12 * 3600.0, ge=60.0, le=30 * 86400.0)
    """Time after which a person logs in again."""
    credentials: Duration = Field(default=300.0, ge=10.0, le=3600.0)
    """Life of the NATS credentials that a session gets; the client asks for new ones before."""
    public_url: HttpUrl | None = None
    """How browsers reach the API, such as `https://plant.example`; left out: under its own address."""
    admins: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """Who may add people to their tenant, give new passwords and take people out in the console: `tenant/user`;
    `provider/user` keeps the people of who runs the hub."""
    oidc: Annotated[tuple[OidcConfig, ...], Field(max_length=8)] = ()
    """Identity providers."""

    @model_validator(mode="after")
    def _names_once(self) -> LoginConfig:
        if len({provider.name for provider in self.oidc}) < len(self.oidc):
            raise ValueError("'oidc' has two providers of one name")
        return self


class TrustConfig(Section):
    """Operator mode: tenants, sites and people come from what the operator signed."""

    file: ConfigPath
    """The `hub.trust` that `millstream operator init` made and each `millstream tenant|site|user` command renews."""


class TenantConfig(Section):
    """What this hub does for one tenant."""

    flows: tuple[FlowEntry, ...] = Field(default=(), max_length=FLOWS_COUNT_MAX)
    """What is worked out here, from the data of all the tenant's edges; what flows say stays the tenant's."""


class HubStreams(Section):
    """Bounds of the hub's streams."""

    max_bytes: BufferSize = 10 << 30
    """Bytes on disk of each stream; the oldest are dropped, the historian keeps them."""
    max_age: Duration | None = None
    """Age at which data leaves the streams; left out: never by age."""
    flow_max_bytes: BufferSize = 1 << 30
    """Bytes on disk of what flows say and of their state; what is no longer needed goes first."""


class HubConfig(Section):
    """A hub file."""

    hub: HubIdentity
    """Identity."""
    server: HubServer = HubServer()
    """The nats-server."""
    tls: TlsConfig | None = None
    """TLS of all listeners; left out: in clear."""
    streams: HubStreams = HubStreams()
    """Buffers."""
    edges: tuple[EdgeAccess, ...] = Field(default=(), max_length=EDGES_COUNT_MAX)
    """Who may report."""
    trust: TrustConfig | None = None
    """Tenants; left out: one plant, whose edges have passwords."""
    tenants: Annotated[dict[Name, TenantConfig], Field(max_length=TENANTS_COUNT_MAX)] = Field(default_factory=dict)
    """What this hub does for its tenants, by their names, with `trust`."""
    historian: HubHistorianConfig | None = HubHistorianConfig()
    """History; `null`: none at this hub."""
    api: ApiConfig | None = None
    """HTTP; left out: none."""
    login: LoginConfig = LoginConfig()
    """Log-in at the API, with `trust`."""
    flows: tuple[FlowEntry, ...] = Field(default=(), max_length=FLOWS_COUNT_MAX)
    """What is worked out here, from the data of all edges; with `trust` flows stand below `tenants`."""
    cluster: ClusterConfig | None = None
    """The boxes that are this hub together; left out: this one alone."""

    @model_validator(mode="after")
    def _one_way_in(self) -> HubConfig:
        if self.cluster is not None:
            for name, is_set in (
                ("'server.url'", self.server.url is not None),
                ("'server.mqtt_port'", self.server.mqtt_port is not None),
            ):
                if is_set:
                    raise ValueError(f"{name} does not work with 'cluster' yet")
        if self.trust is None and self.tenants:
            raise ValueError("'tenants' needs 'trust': who they are is the operator's word")
        if self.trust is not None:
            if self.edges:
                raise ValueError("'edges' and 'trust' exclude one another: with an operator, sites join by their file")
            if self.flows:
                raise ValueError("'flows' of a hub with 'trust' belong to a tenant: write them as tenants.<name>.flows")
            if self.server.url is not None:
                raise ValueError("'server.url' does not work with 'trust' yet")
            if self.api is not None and self.tls is None and not is_loopback(self.api.host):
                raise ValueError(
                    "'api.host' is not of this machine: people log in there, and without TLS that is allowed on "
                    "loopback only. Give the hub a 'tls' section, or put a proxy with TLS in front ('login.public_url')"
                )
        return self


class UpServer(Section):
    """The listeners of a single machine."""

    host: Host = "127.0.0.1"
    """Address that the listeners bind to."""
    port: Port = 0
    """Client port of the hub, for programs and the command line."""
    leaf_port: Port = 0
    """Port that further edges connect to."""
    websocket_port: Port | None = None
    """Port for browsers; left out: with `api` a free one, else none."""
    mqtt_port: Port | None = None
    """Port of the edge's MQTT 3.1.1 listener, for devices; left out: none."""

    @model_validator(mode="after")
    def _consistent(self) -> UpServer:
        check_ports({name: getattr(self, name) for name in ("port", "leaf_port", "websocket_port", "mqtt_port")})
        return self


class UpConfig(Section):
    """The file of `millstream up`: an edge and its hub on one machine. It is an edge file with a `hub` section (and
    whatever of a hub file it needs); the uplink between the two is made by itself."""

    edge: EdgeIdentity
    """Identity of the edge."""
    hub: HubIdentity
    """Identity of the hub; its `data_dir` is another than the edge's."""
    server: UpServer = UpServer()
    """Listeners."""
    tls: TlsConfig | None = None
    """TLS of all listeners; left out: in clear."""
    streams: StreamsConfig = StreamsConfig()
    """Store and forward."""
    connectors: tuple[ConnectorEntry, ...] = Field(default=(), max_length=CONNECTORS_COUNT_MAX)
    """The sources."""
    edges: tuple[EdgeAccess, ...] = Field(default=(), max_length=EDGES_COUNT_MAX)
    """Further edges that may report."""
    historian: HubHistorianConfig | None = HubHistorianConfig()
    """History; `null`: none."""
    api: ApiConfig | None = None
    """HTTP; left out: none."""
    flows: tuple[FlowEntry, ...] = Field(default=(), max_length=FLOWS_COUNT_MAX)
    """What is worked out at the edge."""
    hub_flows: tuple[FlowEntry, ...] = Field(default=(), max_length=FLOWS_COUNT_MAX)
    """What is worked out at the hub, from the data of all edges."""
    managed: ManagedConfig = ManagedConfig()
    """Configuration of the edge by the hub."""
    tracing: TracingConfig = TracingConfig()
    """Traces."""

    @model_validator(mode="after")
    def _apart(self) -> UpConfig:
        if self.edge.data_dir == self.hub.data_dir:
            raise ValueError("'edge.data_dir' and 'hub.data_dir' are the same folder")
        if self.edge.name == self.hub.name:
            raise ValueError("'edge.name' and 'hub.name' are the same: each is a domain of its own")
        if any(access.name == self.edge.name for access in self.edges):
            raise ValueError(f"'edges' lists {self.edge.name!r}, which is the edge of this file")
        return self

    def hub_config(self, edge_secret: SecretRef | None = None) -> HubConfig:
        """The hub half. `edge_secret` refers to the password that the two halves share."""
        server = self.server
        own = EdgeAccess(name=self.edge.name, path=self.edge.path, secret=edge_secret)
        return HubConfig(
            hub=self.hub,
            server=HubServer(
                host=server.host, port=server.port, leaf_port=server.leaf_port, websocket_port=server.websocket_port
            ),
            tls=self.tls,
            edges=(own, *self.edges),
            historian=self.historian,
            api=self.api,
            flows=self.hub_flows,
        )

    def edge_config(self, uplink: UplinkConfig) -> EdgeConfig:
        """The edge half. `uplink` is where the hub half listens, known once it runs."""
        server = EdgeServer(host=self.server.host, mqtt_port=self.server.mqtt_port)
        return EdgeConfig(
            edge=self.edge, server=server, tls=self.tls, uplink=uplink, streams=self.streams,
            connectors=self.connectors, flows=self.flows, managed=self.managed, tracing=self.tracing,
        )  # fmt: skip

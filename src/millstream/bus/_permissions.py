"""What each role may say and hear, as subjects. Pure.

The same rules serve a hub with passwords (rendered into its file, with real names) and one in operator mode (the
template of a scoped signing key, with ``{{tag(site)}}`` and ``{{tag(place)}}`` in their stead).

Two ways in are closed here on purpose. Nobody hears replies that are not its own: each node and each user has inboxes
below a prefix of its own, and may listen below that one only. And no edge's or user's role creates consumers at the
hub: a consumer's deliver subject would let it speak with the server's own rights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from millstream.bus._streams import (
    CONFIG,
    CONFIG_PREFIX,
    CONTRACTS,
    FLOW_CONTROL,
    HUB_DLQ,
    HUB_FLOW,
    HUB_INTEGRITY,
    HUB_LOCAL,
    HUB_THROUGHPUT,
)
from millstream.protocols.below import (
    COMMAND,
    COMMAND_FILE,
    COMMANDS,
    FLEET,
    FLEET_DATA,
    MODULE,
    ROLLOUT,
    below_subject,
)
from millstream.protocols.below import CONFIG as CONFIG_DESK
from millstream.protocols.module import MODULES, MODULES_PREFIX
from millstream.protocols.trust_chain import CHAIN_STREAM, CHAIN_SUBJECT

HUB_INBOX = "_INBOX.hub"
SITE, PLACE, PATH = "{{tag(site)}}", "{{tag(place)}}", "{{tag(path)}}"
"""What nats-server fills in from the tags of a user that a scoped key signed. A tag that stands several times gives a
subject for each of its values."""
USER_KEY = "{{subject()}}"
JOINING = "join-"
"""Before the name of a site: the server of a box that asks to become its edge."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects. An empty list of what is allowed means nothing; `connections` are nats-server's connection types.
    `publish_denied` and `subscribe_denied` are taken out of what is allowed. A bearer shows its token and proves no
    key: MQTT has a password and nothing else."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    connections: tuple[str, ...]
    publish_denied: tuple[str, ...] = ()
    subscribe_denied: tuple[str, ...] = ()
    is_bearer: bool = False

    def as_config(self) -> dict[str, Any]:
        """As a user of the server's file has them."""
        return {
            "allowed_connection_types": list(self.connections),
            "permissions": {
                "publish": _rule(self.publish, self.publish_denied),
                "subscribe": _rule(self.subscribe, self.subscribe_denied),
            },
        }

    def as_template(self) -> dict[str, Any]:
        """As a scoped signing key has them (JWT, user permissions and limits)."""
        return {
            "pub": _rule(self.publish, self.publish_denied),
            "sub": _rule(self.subscribe, self.subscribe_denied),
            "subs": -1,
            "data": -1,
            "payload": -1,
            "allowed_connection_types": list(self.connections),
            **({"bearer_token": True} if self.is_bearer else {}),
        }


def _rule(allowed: tuple[str, ...], denied: tuple[str, ...]) -> dict[str, list[str]]:
    return {"allow": list(allowed), **({"deny": list(denied)} if denied else {})}


def inbox_of(domain: str | None, server_name: str) -> str:
    """Where the clients of a node hear replies: below a prefix of the node's own."""
    return HUB_INBOX if domain == "hub" else f"_INBOX.{server_name}"


def edge_permissions(name: str, prefix: str | None, hub: str) -> Permissions:
    """What an edge may send and get: its domain's API, the traffic of its sources, its node's subjects, the live copies
    of its own place `prefix` (``uns.v1.acme.plant1``). Of the nodes' services it may ask those that only tell: a write
    or a command to another edge does not pass, and an answer to the fleet's questions bears its own name."""
    place = () if prefix is None else (f"live.{prefix}.>", f"$JS.{hub}.API.DIRECT.GET.*.{prefix}._ledger.{name}.>")
    return Permissions(
        publish=(
            "$JS.S.>",
            "$JSC.R.>",
            "$JS.FC.>",
            f"{HUB_INBOX}.>",
            "_R_.>",
            "$SRV.>",
            f"millstream.fleet.answer.{name}.>",
            "millstream.node.*.status",
            "millstream.node.*.ledger",
            "millstream.historian.query",
            f"$JS.{hub}.API.STREAM.INFO.*",
            f"$JS.{hub}.API.DIRECT.GET.{CONTRACTS}",
            f"$JS.{hub}.API.DIRECT.GET.{CONFIG}.{CONFIG_PREFIX}{name}",
            f"$JS.{hub}.API.DIRECT.GET.{MODULES}",
            f"$JS.{hub}.API.DIRECT.GET.{MODULES}.{MODULES_PREFIX}M.*",
            f"$JS.{hub}.API.DIRECT.GET.{CHAIN_STREAM}.{CHAIN_SUBJECT}",
            *place,
        ),
        subscribe=(
            f"$JS.{name}.API.>",
            "$JS.FC.>",
            "$JSC.R.>",
            f"_INBOX.{name}.>",
            "$SRV.>",
            f"millstream.node.{name}.>",
            "millstream.fleet.query",
        ),
        connections=("LEAFNODE",),
    )


def join_permissions() -> Permissions:
    """What the bearer of a join file may do: ask once, under the name of its own site and key."""
    return Permissions(
        publish=(join_subject(SITE, USER_KEY), "_R_.>"),
        subscribe=(f"_INBOX.{JOINING}{SITE}.>",),
        connections=("LEAFNODE",),
    )


def join_subject(site: str, key: str) -> str:
    """Where the bearer of a join file asks to become an edge; the server lets it ask nowhere else."""
    return f"millstream.join.{site}.{key}"


def flow_permissions() -> Permissions:
    """A worker of flows that runs elsewhere than at the hub: it reads what flows read, and says what they say. It makes
    no stream: one that republishes would speak on subjects that its role may not."""
    streams = (HUB_INTEGRITY, HUB_THROUGHPUT, HUB_LOCAL, HUB_FLOW, HUB_DLQ, CONTRACTS, FLOW_CONTROL)
    return Permissions(
        publish=(
            "$JS.API.STREAM.NAMES", *_reading(streams), *(f"$JS.API.STREAM.MSG.GET.{stream}" for stream in streams),
            *(f"$JS.ACK.{stream}.>" for stream in streams), "$JS.FC.>", "flow.>", "uns.v1.>", "dlq.>",
        ),
        subscribe=(f"_INBOX.{USER_KEY}.>", "flow.>"),
        connections=("STANDARD", "WEBSOCKET"),
    )  # fmt: skip


_NO_DEVICE = (
    "uns.>", "fast.>", "flow.>", "dlq.>", "millstream.>", "$JS.>", "$JSC.>", "$SRV.>", "$SYS.>", "$KV.>", "$O.>",
    "_INBOX.>", "_R_.>", *(f"$MQTT.{kind}.>" for kind in ("msgs", "sess", "rmsgs", "out", "qos2", "JSA")),
)  # fmt: skip
"""A topic may begin with ``$``: without these a device writes into buckets and into the sessions of others. What else
is below ``$MQTT.`` carries its own QoS 1 and 2."""


def device_permissions() -> Permissions:
    """A device that speaks MQTT: any topic of its own. It neither writes into the namespace nor speaks with the server,
    and it may read the live namespace."""
    return Permissions(
        publish=(">",), subscribe=(">",), connections=("MQTT", "MQTT_WS"), publish_denied=("live.>", *_NO_DEVICE),
        subscribe_denied=_NO_DEVICE, is_bearer=True,
    )  # fmt: skip


def bridge_permissions() -> Permissions:
    """A bridge to elsewhere: it reads streams, through consumers of its own."""
    streams = (HUB_INTEGRITY, HUB_THROUGHPUT)
    return Permissions(
        publish=(*_reading(streams), *(f"$JS.ACK.{stream}.>" for stream in streams), "$JS.FC.>"),
        subscribe=(f"_INBOX.{USER_KEY}.>",),
        connections=("STANDARD", "WEBSOCKET"),
    )


def _reading(streams: tuple[str, ...]) -> tuple[str, ...]:
    """What JetStream is asked by who reads these streams, with consumers of its own or message by message."""
    return tuple(
        f"$JS.API.{call}.{stream}{rest}"
        for stream in streams
        for call, rest in (
            ("STREAM.INFO", ""), ("CONSUMER.CREATE", ""), ("CONSUMER.CREATE", ".>"), ("CONSUMER.INFO", ".*"),
            ("CONSUMER.MSG.NEXT", ".*"), ("CONSUMER.DELETE", ".*"), ("DIRECT.GET", ""), ("DIRECT.GET", ".>"),
        )
    )  # fmt: skip


PEOPLE = ("viewer", "engineer", "commander")
"""Roles whose users live in a tenant's account of people."""
VIEW_API = "JSP.API"
"""Prefix of the hub's JetStream API in an account of viewers: under its own name both accounts would answer."""
VIEWED_STREAMS = (HUB_INTEGRITY, HUB_THROUGHPUT, HUB_LOCAL, HUB_DLQ)
VIEW_SERVICES = (
    *(
        (f"$JS.API.{call}.{stream}", f"{VIEW_API}.{call}.{stream}")
        for stream in VIEWED_STREAMS
        for call in ("STREAM.INFO", "DIRECT.GET")
    ),
    *((f"$JS.API.DIRECT.GET.{stream}.>", f"{VIEW_API}.DIRECT.GET.{stream}.>") for stream in VIEWED_STREAMS),
    ("$SRV.INFO", "$SRV.INFO"),
    ("millstream.historian.query", "millstream.historian.query"),
    ("millstream.node.*.status", "millstream.node.*.status"),
    ("millstream.node.*.ledger", "millstream.node.*.ledger"),
    ("millstream.node.*.commands", "millstream.node.*.commands"),
    ("millstream.node.*.fleet", "millstream.node.*.fleet"),
)
"""What any viewer may ask: (subject in the plant's account, subject in the viewers')."""
ENGINEER_SERVICES = (
    ("millstream.node.*.flows", "millstream.node.*.flows"),
    ("millstream.node.*.fleet_data", "millstream.node.*.fleet_data"),
)
COMMANDER_SERVICES = (
    ("millstream.node.*.write", "millstream.node.*.write"),
    ("millstream.node.*.command", "millstream.node.*.command"),
    ("millstream.node.*.command_file", "millstream.node.*.command_file"),
)


HISTORY_BELOW = "millstream.history.below"
"""Before the path of the history that is asked for: the server lets a person ask below its own paths only."""
ASKED_BELOW = {
    "viewer": (FLEET, COMMANDS),
    "engineer": (FLEET, COMMANDS, FLEET_DATA, CONFIG_DESK, ROLLOUT, MODULE),
    "commander": (FLEET, COMMANDS, FLEET_DATA, CONFIG_DESK, ROLLOUT, MODULE, COMMAND, COMMAND_FILE),
}
"""What each role may ask below its paths (`millstream.below.…`), or below any."""
PEOPLE_SERVICES = (
    *VIEW_SERVICES,
    (f"{HISTORY_BELOW}.>", f"{HISTORY_BELOW}.>"),
    *ENGINEER_SERVICES,
    *COMMANDER_SERVICES,
    *((below_subject(what, ">"), below_subject(what, ">")) for what in ASKED_BELOW["commander"]),
)
"""All that crosses from the people to the plant, for exports and imports."""
TOLD_WHO_ASKS = frozenset({
    "millstream.node.*.flows", "millstream.node.*.command",
    *(below_subject(what, ">") for what in (CONFIG_DESK, ROLLOUT, MODULE, COMMAND)),
})  # fmt: skip
"""Where something is changed: the server tells who answers from where it was asked, for the audit."""
_READ_BY_SUBJECT = (HUB_INTEGRITY, HUB_THROUGHPUT, HUB_LOCAL)
_AT_SITES = {
    "viewer": ("status", "ledger"),
    "engineer": ("status", "ledger", "flows"),
    "commander": ("status", "ledger", "flows", "write"),
}


def permissions_below(role: str) -> Permissions:
    """A person who sees some paths of its tenant only. What carries its filter in its body (batches of JetStream, the
    tenant's whole history) is not there: no server can bound it. What is there has the path, or the site that lies in
    it, in its subject."""
    return Permissions(
        publish=(
            *(f"{VIEW_API}.DIRECT.GET.{stream}.{PATH}.>" for stream in _READ_BY_SUBJECT),
            f"{HISTORY_BELOW}.{PATH}",
            *(f"millstream.node.{SITE}.{what}" for what in _AT_SITES[role]),
            *(below_subject(what, place) for what in ASKED_BELOW[role] for place in (PATH, f"{PATH}.>")),
        ),
        subscribe=(f"_INBOX.{USER_KEY}.>", f"live.{PATH}.>"),
        connections=("STANDARD", "WEBSOCKET"),
    )


def viewer_permissions() -> Permissions:
    """Somebody who looks: live values, history, status. In the tenant's account of viewers."""
    return _person("viewer", VIEW_SERVICES)


def engineer_permissions() -> Permissions:
    """Somebody who changes what is worked out: a viewer who may also steer flows and configure sites."""
    return _person("engineer", (*VIEW_SERVICES, *ENGINEER_SERVICES))


def commander_permissions() -> Permissions:
    """Somebody who acts on machines: an engineer who may also write to allow-listed tags."""
    return _person("commander", (*VIEW_SERVICES, *ENGINEER_SERVICES, *COMMANDER_SERVICES))


def _person(role: str, services: tuple[tuple[str, str], ...]) -> Permissions:
    return Permissions(
        publish=(*(local for _, local in services), *(below_subject(what, ">") for what in ASKED_BELOW[role])),
        subscribe=(f"_INBOX.{USER_KEY}.>", "live.uns.v1.>"),
        connections=("STANDARD", "WEBSOCKET"),
    )

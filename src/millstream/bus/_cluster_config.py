"""The cluster of three or five servers that one node is made of, and its part of nats-server's configuration. Pure.

All members have the same domain and the same accounts by name; what one stores, a majority of them has on disk before
it is acknowledged. Clients talk to the server of their own box only (`no_advertise`), since each has passwords of its
own; only what edges log in with, and the routes, hang on the secret that the members share.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

ROUTE_USER = "route"
LIVE_PATH = "/healthz?js-enabled-only=true"
"""Asked while a member starts: the page without it waits for a majority, which may be for the others to make."""
WRITE_ERROR = "write error"
ROUTE_TIMEOUT_S = 5  # for the log-in of a route, on links between halls too


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """One member's view: its own name and the addresses (host:port) of all. `replicas` of each stream; a majority of
    them must live."""

    name: str
    member: str
    members: Mapping[str, str]
    secret: str = field(repr=False)
    host: str = "0.0.0.0"
    replicas: int = 3

    @property
    def server_name(self) -> str:
        """Unique among all servers that can see each other."""
        return f"{self.name}-{self.member}"

    @property
    def port(self) -> int:
        """Where this member listens for the others."""
        return int(self.members[self.member].rpartition(":")[2])


def shared_secret(cluster_secret: str, purpose: str) -> str:
    """A password that every member works out by itself, so that it need not be carried from one to the others."""
    digest = hmac.new(cluster_secret.encode(), purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def render_cluster(cluster: ClusterSettings) -> dict[str, Any]:
    """The ``cluster`` block."""
    password = shared_secret(cluster.secret, "routes")
    others = [address for name, address in cluster.members.items() if name != cluster.member]
    return {
        "name": cluster.name,
        "host": cluster.host,
        "port": cluster.port,
        "no_advertise": True,
        "authorization": {"user": ROUTE_USER, "password": password, "timeout": ROUTE_TIMEOUT_S},
        "routes": [f"nats://{ROUTE_USER}:{quote(password, safe='')}@{address}" for address in others],
    }


def is_alone(problem: str) -> bool:
    """Whether what the health page says means that this member is not among a majority."""
    text = problem.lower()
    return "meta leader" in text or "no leader" in text or "quorum" in text


def is_own(problem: str) -> bool:
    """Whether a restart may mend it: the others being away, or having to catch up with them, is no reason for one."""
    return WRITE_ERROR in problem or "not enabled" in problem

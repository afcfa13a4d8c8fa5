"""What a hub or edge file says when the node is three or five boxes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from millstream.config._types import Host, Name, Section
from millstream.sdk import SecretRef

MEMBERS_COUNT_MAX = 5  # what nats-server keeps a stream on at most


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or "/" in value or "@" in value or any(c.isspace() for c in value):
        raise ValueError(f'not an address: {value!r:.60}, expected e.g. "10.0.0.1:6222"')
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f'no port: {value!r:.60}, expected e.g. "10.0.0.1:6222"')
    return value


class ClusterConfig(Section):
    """The boxes of one node. All of them have the same file but for `member` and `data_dir`."""

    member: Name
    """Which of `members` this box is."""
    members: dict[Name, Annotated[str, AfterValidator(_address)]]
    """Name -> where the others reach it, host:port. Three or five."""
    secret: SecretRef
    """Shared by all members: the routes' password, and those of edges without one of their own, come from it."""
    host: Host = "0.0.0.0"
    """Address that the port for the other members binds to."""
    replicas: int | None = Field(default=None, ge=3, le=MEMBERS_COUNT_MAX)
    """How many members keep each stream; left out: three."""

    @model_validator(mode="after")
    def _can_decide(self) -> ClusterConfig:
        count = len(self.members)
        if count not in (3, MEMBERS_COUNT_MAX):
            raise ValueError(f"'members' has {count}, expected 3 or 5: a majority of them must be able to decide")
        if self.member not in self.members:
            raise ValueError(f"'member' is {self.member!r}, which is none of {', '.join(sorted(self.members))}")
        if len(set(self.members.values())) < count:
            raise ValueError("two members have the same address")
        if (self.replicas or 3) > count:
            raise ValueError(f"'replicas' is {self.replicas}, expected at most {count}, the number of members")
        return self

    @property
    def kept_on(self) -> int:
        """How many members keep each stream."""
        return self.replicas or 3

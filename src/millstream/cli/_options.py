"""Options that many commands share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from millstream.client import Plant, Signer
    from millstream.sdk import TlsFiles

T = TypeVar("T")
NODE_GROUP = Group("Which node", sort_key=90)
OUTPUT_GROUP = Group("Output", sort_key=91)

Json = Annotated[bool, Parameter(name="--json", negative="", group=OUTPUT_GROUP)]
Start = Annotated[str, Parameter(allow_leading_hyphen=True)]
Wait = Annotated[str, Parameter(help="How long to wait for the flow to take it; 0s: not at all.")]
Who = Annotated[str | None, Parameter(help="Name for the audit; left out: user and host.")]
PASSWORD_VARIABLE = "MILLSTREAM_PASSWORD"  # noqa: S105 (the name of a variable; a command line is readable by others)


@Parameter(name="*")
@dataclass(frozen=True)
class Target:
    """Which node to talk to.

    Parameters
    ----------
    node
        Data directory of a node on this machine, or its node.json.
    url
        Address of a node, such as nats://host:4222; the password is taken from MILLSTREAM_PASSWORD.
    user
        User for --url.
    creds
        Credentials from `millstream user add`.
    tenant
        Whose plant, at a hub of several.
    ca_file
        Authorities in PEM that --url is checked against; left out: the system's.
    certificate
        Own certificate and key in one PEM file, for a node that asks for one.
    timeout
        Longest wait for the connection, in seconds.
    """

    node: Annotated[str | None, Parameter(env_var="MILLSTREAM_NODE", group=NODE_GROUP)] = None
    url: Annotated[str | None, Parameter(group=NODE_GROUP)] = None
    user: Annotated[str | None, Parameter(env_var="MILLSTREAM_USER", group=NODE_GROUP)] = None
    creds: Annotated[Path | None, Parameter(env_var="MILLSTREAM_CREDS", group=NODE_GROUP)] = None
    tenant: Annotated[str | None, Parameter(env_var="MILLSTREAM_TENANT", group=NODE_GROUP)] = None
    ca_file: Annotated[Path | None, Parameter(env_var="MILLSTREAM_CA_FILE", group=NODE_GROUP)] = None
    certificate: Annotated[Path | None, Parameter(env_var="MILLSTREAM_CERTIFICATE", group=NODE_GROUP)] = None
    timeout: Annotated[float, Parameter(group=NODE_GROUP)] = 5.0

    def connect(self) -> AbstractAsyncContextManager[Plant]:
        """Open the plant as seen from that node."""
        from millstream.client import connect

        node = None if self.url is not None else self.node
        return connect(
            node, url=self.url, user=self.user, password=os.environ.get(PASSWORD_VARIABLE), creds_file=self.creds,
            tenant=self.tenant, tls=self.tls, timeout_s=self.timeout,
        )  # fmt: skip

    @property
    def tls(self) -> TlsFiles | None:
        """What the node is checked against, where it was said."""
        from millstream.sdk import TlsFiles

        if self.ca_file is None and self.certificate is None:
            return None
        return TlsFiles(ca_file=self.ca_file, certificate=self.certificate)


DEFAULT = Target()
Sign = Annotated[Path | None, Parameter(env_var="MILLSTREAM_SIGN")]


def signer_of(file: Path | None) -> Signer | None:
    """Who signs what is put; None: nobody. Raises ConfigError."""
    from millstream.client import Signer

    return None if file is None else Signer.of(file)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work to its end."""
    return asyncio.run(work)

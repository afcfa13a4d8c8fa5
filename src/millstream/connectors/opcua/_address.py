"""Addresses of nodes: the text form of NodeId and ExpandedNodeId (OPC 10000-6, 5.3.1.10 and 5.3.1.11)."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from millstream.kernel import ConfigError

IdKind = Literal["i", "s", "g", "b"]
Identifier = int | str | bytes | uuid.UUID
_EXPECTED = '"nsu=<namespace URI>;s=<name>", "ns=<index>;i=<number>" or "i=<number>" (also g=<guid>, b=<base64>)'


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node: its namespace by URI or by index, and its identifier.

    An index may change when the server's configuration does; the URI stays, so it is what `browse` writes.
    """

    kind: IdKind
    identifier: Identifier
    namespace_uri: str | None = None
    namespace_index: int = 0

    @classmethod
    def parse(cls, text: str) -> NodeAddress:
        """From its text form. Raises ConfigError (MS-0110)."""
        rest, uri, index = text.strip(), None, 0
        if rest.startswith("nsu="):
            uri, semicolon, rest = rest[4:].partition(";")
            if not semicolon or not uri:
                raise _malformed(text)
            uri = uri.replace("%3B", ";").replace("%25", "%")
        elif rest.startswith("ns="):
            digits, semicolon, rest = rest[3:].partition(";")
            if not semicolon or not digits.isascii() or not digits.isdigit() or int(digits) > 0xFFFF:
                raise _malformed(text)
            index = int(digits)
        kind, equals, identifier = rest[:1], rest[1:2], rest[2:]
        if equals != "=":
            raise _malformed(text)
        return cls(*_identifier(kind, identifier, text), uri, index)

    def __str__(self) -> str:
        prefix = ""
        if self.namespace_uri is not None:
            prefix = "nsu=" + self.namespace_uri.replace("%", "%25").replace(";", "%3B") + ";"
        elif self.namespace_index:
            prefix = f"ns={self.namespace_index};"
        value = self.identifier
        return f"{prefix}{self.kind}={base64.b64encode(value).decode() if isinstance(value, bytes) else value}"

    def index_in(self, namespaces: Sequence[str]) -> int | None:
        """The namespace index at a server with these `namespaces`; None when the server does not know the URI."""
        if self.namespace_uri is None:
            return self.namespace_index
        try:
            return namespaces.index(self.namespace_uri)
        except ValueError:
            return None


def _identifier(kind: str, text: str, whole: str) -> tuple[IdKind, Identifier]:
    try:
        if kind == "i" and text.isascii() and text.isdigit() and int(text) <= 0xFFFFFFFF:
            return "i", int(text)
        if kind == "s" and text:
            return "s", text
        if kind == "g":
            return "g", uuid.UUID(text)
        if kind == "b":
            return "b", base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        pass
    raise _malformed(whole)


def _malformed(text: str) -> ConfigError:
    return ConfigError(
        "not an OPC UA node id",
        expected=_EXPECTED,
        got=repr(text)[:100],
        next_step="`millstream browse` lists the server's nodes with their addresses",
        code="MS-0110",
    )

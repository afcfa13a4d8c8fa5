"""Addresses of nodes: the text form of NodeId and ExpandedNodeId (OPC 10000-6, 5.3.1.10 and 5.3.1.11), and paths of
browse names, which stay when a server gives its nodes new ids."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from millstream.kernel import ConfigError

IdKind = Literal["i", "s", "g", "b"]
Identifier = int | str | bytes | uuid.UUID
_EXPECTED = (
    '"nsu=<namespace URI>;s=<name>", "ns=<index>;i=<number>" or "i=<number>" (also g=<guid>, b=<base64>), '
    'or a path: "nsu=<namespace URI>;path=/Objects/Boiler/Temp", "/Objects/2:Boiler/2:Temp"'
)
_ROOTS = ("Objects", "Types", "Views")  # below the root folder, in the standard's namespace
_STEP = re.compile(r"(?:&.|[^/&])+", re.DOTALL)
_INDEXED = re.compile(r"(\d{1,5}):(.+)", re.DOTALL)


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
        uri, index, rest = _namespace(text.strip(), text)
        kind, equals, identifier = rest[:1], rest[1:2], rest[2:]
        if equals != "=":
            raise _malformed(text)
        return cls(*_identifier(kind, identifier, text), uri, index)

    def __str__(self) -> str:
        prefix = f"ns={self.namespace_index};" if self.namespace_index else ""
        if self.namespace_uri is not None:
            prefix = f"nsu={_quoted(self.namespace_uri)};"
        value = self.identifier
        return f"{prefix}{self.kind}={base64.b64encode(value).decode() if isinstance(value, bytes) else value}"

    def index_in(self, namespaces: Sequence[str]) -> int | None:
        """The namespace index at a server with these `namespaces`; None when the server does not know the URI."""
        return _index_in(self.namespace_uri, self.namespace_index, namespaces)


@dataclass(frozen=True, slots=True)
class Step:
    """One browse name of a path."""

    name: str
    namespace_uri: str | None = None
    namespace_index: int = 0

    def index_in(self, namespaces: Sequence[str]) -> int | None:
        """As `NodeAddress.index_in`."""
        return _index_in(self.namespace_uri, self.namespace_index, namespaces)


@dataclass(frozen=True, slots=True)
class BrowsePath:
    """The browse names from the root folder to a node, over hierarchical references."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> BrowsePath:
        """From "/Objects/2:Boiler/2:Temp" or, with one namespace for all names without a number, "nsu=URI;path=/...".

        "&" makes the next character a part of the name. Raises ConfigError (MS-0110).
        """
        uri, index, rest = _namespace(text.strip(), text)
        path = rest.removeprefix("path=")
        parts = _STEP.findall(path)
        if not parts or "/" + "/".join(parts) != path:
            raise _malformed(text)
        return cls(tuple(_step(part, uri, index, is_first=i == 0, whole=text) for i, part in enumerate(parts)))

    def __str__(self) -> str:
        uris = {step.namespace_uri for step in self.steps} - {None}
        default = next(iter(sorted(uri for uri in uris if uri is not None)), None)
        names = [_step_text(step, default, is_first=i == 0) for i, step in enumerate(self.steps)]
        return (f"nsu={_quoted(default)};path=" if default is not None else "") + "".join("/" + name for name in names)


Address = NodeAddress | BrowsePath


def parse_address(text: str) -> Address:
    """A node id or a path. Raises ConfigError (MS-0110)."""
    _, _, rest = _namespace(text.strip(), text)
    return BrowsePath.parse(text) if rest.startswith(("/", "path=")) else NodeAddress.parse(text)


def is_path(text: str) -> bool:
    """True for a path, which may lead to another node when the server has changed."""
    return isinstance(parse_address(text), BrowsePath)


def _namespace(text: str, whole: str) -> tuple[str | None, int, str]:
    """URI, index, and what follows them."""
    if text.startswith("nsu="):
        uri, semicolon, rest = text[4:].partition(";")
        if not semicolon or not uri:
            raise _malformed(whole)
        return _unquoted(uri), 0, rest
    if text.startswith("ns="):
        digits, semicolon, rest = text[3:].partition(";")
        if not semicolon or not digits.isascii() or not digits.isdigit() or int(digits) > 0xFFFF:
            raise _malformed(whole)
        return None, int(digits), rest
    return None, 0, text


def _step(text: str, uri: str | None, index: int, *, is_first: bool, whole: str) -> Step:
    if text.startswith("nsu="):
        own, semicolon, name = text[4:].partition(";")
        if not own or not semicolon or not name:
            raise _malformed(whole)
        return Step(_plain(name), _unquoted(own), 0)
    indexed = _INDEXED.fullmatch(text)
    if indexed is not None:
        if int(indexed[1]) > 0xFFFF:
            raise _malformed(whole)
        return Step(_plain(indexed[2]), None, int(indexed[1]))
    if is_first and text in _ROOTS:
        return Step(text)
    return Step(_plain(text), uri, index)


def _step_text(step: Step, default: str | None, *, is_first: bool) -> str:
    name = re.sub(r"([&/:])", r"&\1", step.name)
    if name.startswith("nsu="):
        name = "&" + name
    if step.namespace_uri is not None:
        if step.namespace_uri == default and not (is_first and name in _ROOTS):
            return name
        uri = _quoted(step.namespace_uri).replace("/", "%2F").replace("&", "%26")
        return f"nsu={uri};{name}"
    if step.namespace_index == 0 and (default is None or (is_first and name in _ROOTS)):
        return name
    return f"{step.namespace_index}:{name}"


def _plain(name: str) -> str:
    return re.sub(r"&(.)", r"\1", name, flags=re.DOTALL)


def _quoted(uri: str) -> str:
    return uri.replace("%", "%25").replace(";", "%3B")


def _unquoted(uri: str) -> str:
    for code, char in (("%3B", ";"), ("%2F", "/"), ("%26", "&"), ("%25", "%")):
        uri = uri.replace(code, char)
    return uri


def _index_in(uri: str | None, index: int, namespaces: Sequence[str]) -> int | None:
    if uri is None:
        return index
    try:
        return namespaces.index(uri)
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
        "not the address of an OPC UA node",
        expected=_EXPECTED,
        got=repr(text)[:100],
        next_step="`millstream browse` lists the server's nodes with their addresses",
        code="MS-0110",
    )

"""YAML with places: every value knows its line and column, and hostile files are bounded.

Scalars follow the core schema of YAML 1.2.2 (10.3), so that ``no``, ``1:30`` and ``007`` stay text; keys are unique
(3.2.1.3). The tree is built from parser events without recursion; aliases and merge keys are counted at their expanded
size.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from millstream.kernel import ConfigError

FILE_BYTES_MAX = 8 << 20  # 100,000 tags fit
DEPTH_MAX = 32
NODES_COUNT_MAX = 1_000_000  # after expansion of aliases
DUPLICATES_COUNT_MAX = 100  # reported; the rest says the same

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_DIGITS_MAX = 400  # int() of more is slow, and no tag is that large

Loc: TypeAlias = tuple[str | int, ...]


@dataclass(slots=True)
class Node:
    """One value with its place; lines and columns from 1. `size` counts it with all below."""

    value: Any
    line: int
    column: int
    size: int = 1
    key_places: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong with the YAML itself."""

    line: int
    column: int
    message: str
    hint: str | None = None


@dataclass(slots=True)
class Document:
    """A parsed file; `root` is None when it could not be parsed at all. Of one that was joined from two files,
    `foreign` are the identities of the nodes that stand in `other_file`."""

    root: Node | None
    troubles: list[Trouble] = field(default_factory=list)
    other_file: str | None = None
    foreign: set[int] = field(default_factory=set)

    def file_at(self, loc: Loc) -> str | None:
        """The other file, when that is where the value at `loc`, or the nearest thing above it, stands."""
        node = self.root
        for step in loc:
            child = _child(node, step)[0] if node is not None else None
            if child is None:
                break
            node = child
        return self.other_file if id(node) in self.foreign else None

    def plain(self) -> Any:
        """The value without places."""
        return None if self.root is None else _plain(self.root)

    def place(self, loc: Loc, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `loc`, or of the nearest thing above it that exists."""
        node = self.root
        if node is None:
            return 1, 1
        found = (node.line, node.column)
        for i, step in enumerate(loc):
            child, key_place = _child(node, step)
            if child is None:
                return key_place or found
            found = key_place if key_place is not None and of_key and i == len(loc) - 1 else (child.line, child.column)
            if key_place is not None and isinstance(child.value, dict | list):
                found = key_place  # a block collection begins at its first entry; its key says more
            node = child
        return found


def read_text(path: Path) -> str:
    """A configuration file as text. Raises ConfigError: missing, too large, not UTF-8."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else type(error).__name__
        raise ConfigError(f"file cannot be read: {reason}", where=str(path)) from error
    except ValueError as error:
        raise ConfigError(f"not a file name: {error}", where=ascii(str(path))) from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError("file is too large", where=str(path), expected=f"at most {FILE_BYTES_MAX >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "file is not UTF-8",
            where=f"{path}:{line}",
            got=f"byte 0x{raw[error.start]:02x} at offset {error.start}",
            next_step="save it as UTF-8",
        ) from None


def read_yaml(path: Path) -> Any:
    """The plain value of a file. Raises ConfigError for the first thing that is wrong with the file or its YAML."""
    document = parse_yaml(read_text(path))
    for trouble in document.troubles:
        raise ConfigError(trouble.message, where=f"{path}:{trouble.line}", next_step=trouble.hint)
    return document.plain()


def parse_yaml(text: str) -> Document:
    """Parse one document; never raises, troubles are listed."""
    builder = _Builder()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part) or "cannot be parsed"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        hint = "indent with spaces, not with tabs" if _has_tab(text, mark) else None
        return Document(None, [*builder.troubles, Trouble(line, column, f"not YAML: {what}", hint)])
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        return Document(None, [Trouble(line, 1, f"not YAML: control character 0x{code:02x}")])
    except (yaml.YAMLError, UnicodeError) as error:  # unpaired surrogates, and what the parser does not mark
        return Document(None, [Trouble(1, 1, f"not YAML: {str(error).splitlines()[0]:.200}")])
    except _TooMuch as error:
        return Document(None, [*builder.troubles, error.trouble])
    if builder.root is None:
        builder.troubles.append(Trouble(1, 1, "the file is empty", "see docs/reference/configuration.md"))
    return Document(builder.root, builder.troubles)


def _has_tab(text: str, mark: Any) -> bool:
    """True when the line that the parser stopped at is indented with a tab."""
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    return "\t" in line[: len(line) - len(line.lstrip())]


class _TooMuch(Exception):
    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


@dataclass(slots=True)
class _Open:
    node: Node
    anchor: str | None
    key: tuple[str, int, int] | None = None
    merges: list[Node] = field(default_factory=list)


class _Builder:
    """Turns parser events into nodes with its own stack."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.troubles: list[Trouble] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._count = 0
        self._documents = 0

    def feed(self, event: Any) -> None:
        """One event of the parser."""
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            self._add(Node(self._scalar(event, line, column), line, column), event.anchor, line, column)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(self._stack) >= DEPTH_MAX:
                raise _TooMuch(Trouble(line, column, f"nested too deeply, expected at most {DEPTH_MAX} levels"))
            self._tag(event, line, column)
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._stack.append(_Open(Node(value, line, column), event.anchor))
            if event.anchor is not None:
                self._anchors[event.anchor] = None  # open: an alias to it would be a cycle
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._stack.pop()
            for source in done.merges:
                _merge(done.node, source)
            self._add(done.node, done.anchor, done.node.line, done.node.column)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor, line, column)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _TooMuch(Trouble(line, column, "more than one document, expected one"))

    def _alias(self, anchor: str | None, line: int, column: int) -> None:
        target = self._anchors.get(anchor) if anchor is not None else None
        if target is None:
            what = "refers to itself" if anchor in self._anchors else "has no anchor"
            raise _TooMuch(Trouble(line, column, f"alias *{anchor} {what}"))
        self._add(Node(target.value, line, column, target.size, target.key_places), None, line, column)

    def _add(self, node: Node, anchor: str | None, line: int, column: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        self._count += 1
        if not self._stack:
            self.root = node
            return
        top = self._stack[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif top.key is None:
            top.key = (self._key(node), line, column)
            return
        else:
            self._entry(top, node)
        top.node.size += node.size
        if top.node.size > NODES_COUNT_MAX or self._count > NODES_COUNT_MAX:
            raise _TooMuch(Trouble(line, column, f"too many values, expected at most {NODES_COUNT_MAX}"))

    def _entry(self, top: _Open, node: Node) -> None:
        if top.key is None:
            raise AssertionError("an entry has a key")
        key, line, column = top.key
        top.key = None
        if key == "<<":
            sources = node.value if isinstance(node.value, list) else [node]
            if all(isinstance(source.value, dict) for source in sources):
                top.merges += sources
            else:
                self._trouble(line, column, "merge key << needs a mapping")
        elif key in top.node.key_places:
            first = top.node.key_places[key][0]
            self._trouble(line, column, f"key {key!r} stands twice, first in line {first}")
        else:
            top.node.value[key] = node
            top.node.key_places[key] = (line, column)

    def _key(self, node: Node) -> str:
        if isinstance(node.value, dict | list):
            self._trouble(node.line, node.column, "a key must be text")
            return ""
        return node.value if isinstance(node.value, str) else str(node.value)

    def _trouble(self, line: int, column: int, message: str, hint: str | None = None) -> None:
        if len(self.troubles) < DUPLICATES_COUNT_MAX:
            self.troubles.append(Trouble(line, column, message, hint))

    def _tag(self, event: Any, line: int, column: int) -> None:
        if event.tag is not None and event.tag != "!":
            self._trouble(line, column, f"tag {event.tag!r:.60} is not supported", "write plain values")

    def _scalar(self, event: Any, line: int, column: int) -> Any:
        text: str = event.value
        if event.tag == "tag:yaml.org,2002:str":
            return text
        self._tag(event, line, column)
        if not event.implicit[0]:  # quoted or a block
            return text
        if text in _WORDS:
            return _WORDS[text]
        if len(text) > _DIGITS_MAX or text[0] not in "+-.0123456789":
            return text
        if _INT.match(text):
            return int(text)
        if _HEX.match(text):
            return int(text, 0)
        return float(text) if _FLOAT.match(text) and not _LEADING_ZERO.match(text) else text


def _merge(node: Node, source: Node) -> None:
    for key, value in source.value.items():
        if key not in node.value:
            node.value[key] = value
            node.size += value.size
            node.key_places[key] = source.key_places[key]
    if node.size > NODES_COUNT_MAX:
        raise _TooMuch(Trouble(node.line, node.column, f"too many values, expected at most {NODES_COUNT_MAX}"))


def _child(node: Node, step: str | int) -> tuple[Node | None, tuple[int, int] | None]:
    if isinstance(node.value, dict) and isinstance(step, str):
        return node.value.get(step), node.key_places.get(step)
    if isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value):
        return node.value[step], None
    return None, None


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(value) for value in node.value]
    return node.value

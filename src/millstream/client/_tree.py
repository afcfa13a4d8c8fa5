"""The namespace as a tree: places, and the tags at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TagEntry:
    """One tag (or event, state, ...) of the namespace, with its description as far as one was published."""

    path: str
    kind: str
    messages_count: int
    unit: str | None = None
    data_type: str | None = None
    description: str | None = None
    address: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The entry as the CLI prints it with --json."""
        return {name: getattr(self, name) for name in TagEntry.__slots__}


@dataclass(slots=True)
class TreeNode:
    """A place: its name, the places below it and the entries right at it, both in order of name."""

    name: str
    path: str
    children: dict[str, TreeNode] = field(default_factory=dict)
    entries: list[TagEntry] = field(default_factory=list)

    @property
    def entries_count(self) -> int:
        """Entries here and below."""
        return len(self.entries) + sum(child.entries_count for child in self.children.values())

    def walk(self) -> Iterator[TreeNode]:
        """This place and all below, parents first."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def as_dict(self) -> dict[str, Any]:
        """Nested, for JSON."""
        return {
            "name": self.name,
            "path": self.path,
            "entries": [entry.as_dict() for entry in self.entries],
            "children": [child.as_dict() for child in self.children.values()],
        }


def build_tree(entries: Iterable[TagEntry]) -> TreeNode:
    """The tree of all entries; its root has an empty name."""
    root = TreeNode("", "")
    for entry in sorted(entries, key=lambda e: (e.path.replace(":", "/").split("/"), e.kind)):
        node = root
        for level in entry.path.partition(":")[0].split("/"):
            if level not in node.children:
                node.children[level] = TreeNode(level, f"{node.path}/{level}" if node.path else level)
            node = node.children[level]
        node.entries.append(entry)
    return root

"""A folder of sites, as it lies in Git: ``sites/<edge>.yaml``, and ``base.yaml`` for what they share.

The base stands under each site: mappings are joined key by key, lists of named items (connectors, flows, tags) item by
item, anything else is the site's if it has it, and a ``null`` of the site takes the base's value away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from millstream.config._yaml import Document, Node, parse_yaml, read_text
from millstream.kernel import ConfigError, NotFoundError
from millstream.protocols.site_config import is_edge_name

BASE_FILE, SITES_FOLDER = "base.yaml", "sites"
SITES_COUNT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class SiteFile:
    """One site of a folder. `text` is what is put; `document` has the places of its values in the files."""

    edge: str
    file: str
    text: str
    document: Document

    @classmethod
    def of(cls, edge: str, text: str) -> SiteFile:
        """A document that lies in no file."""
        return cls(edge, "document", text, parse_yaml(text))


def load_folder(folder: Path) -> list[SiteFile]:
    """The sites of a folder, by name. Raises NotFoundError, ConfigError: a file whose name is no site's, a base that is
    no YAML."""
    sites = folder / SITES_FOLDER
    if not sites.is_dir():
        raise NotFoundError(
            "no folder of sites here", where=str(folder), expected=f"{SITES_FOLDER}/<edge>.yaml", code="MS-2421"
        )
    files = sorted(path for path in sites.iterdir() if path.suffix in (".yaml", ".yml") or path.is_symlink())
    if len(files) > SITES_COUNT_MAX:
        raise ConfigError("too many sites", where=str(sites), expected=f"at most {SITES_COUNT_MAX}", code="MS-2421")
    base = _base(folder / BASE_FILE)
    names = [path.stem for path in files]
    for path in files:
        root = folder.resolve()
        if not is_edge_name(path.stem) or names.count(path.stem) > 1 or not path.resolve().is_relative_to(root):
            raise ConfigError(
                "not the file of a site", where=str(path), expected="<name of the edge>.yaml, once, in this folder",
                code="MS-2421",
            )  # fmt: skip
    return [_site(path, base) for path in files]


def _base(path: Path) -> tuple[str, Document] | None:
    if not path.is_file():
        return None
    document = parse_yaml(read_text(path))
    for trouble in document.troubles:
        raise ConfigError(trouble.message, where=f"{path}:{trouble.line}", next_step=trouble.hint, code="MS-2421")
    if document.root is not None and not isinstance(document.root.value, dict | None):
        raise ConfigError("the base is no mapping", where=str(path), code="MS-2421")
    return str(path), document


def _site(path: Path, base: tuple[str, Document] | None) -> SiteFile:
    text = read_text(path)
    document = parse_yaml(text)
    root = document.root
    is_mapping = root is not None and isinstance(root.value, dict)
    if base is None or base[1].root is None or base[1].root.value is None or not is_mapping:
        return SiteFile(path.stem, str(path), text, document)
    assert root is not None
    foreign: set[int] = set()
    merged = Document(_joined(base[1].root, root, foreign), list(document.troubles), base[0], foreign)
    return SiteFile(path.stem, str(path), dump_yaml(merged.plain()), merged)


def _joined(base: Node, site: Node, foreign: set[int]) -> Node:
    """The site's node over the base's; the nodes that are the base's are noted by identity."""
    if isinstance(base.value, dict) and isinstance(site.value, dict):
        joined = Node({}, site.line, site.column, 1, {**base.key_places, **site.key_places})
        for key, node in base.value.items():
            mine = site.value.get(key)
            if mine is None:
                joined.value[key] = _noted(node, foreign)
            elif mine.value is not None:
                joined.value[key] = _joined(node, mine, foreign)
        joined.value.update({key: node for key, node in site.value.items() if key not in base.value})
        return joined
    if _is_named(base) and _is_named(site):
        mine = {item.value["name"].value: item for item in site.value}
        theirs = {item.value["name"].value for item in base.value}
        items = [
            _joined(item, mine[name], foreign) if (name := item.value["name"].value) in mine else _noted(item, foreign)
            for item in base.value
        ]  # fmt: skip
        items += [item for item in site.value if item.value["name"].value not in theirs]
        return Node(items, site.line, site.column)
    return site


def _noted(node: Node, foreign: set[int]) -> Node:
    todo = [node]
    while todo:
        each = todo.pop()
        foreign.add(id(each))
        value = each.value
        todo += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return node


def _is_named(node: Node) -> bool:
    """A list whose items all have a name of their own."""
    if not isinstance(node.value, list) or not node.value:
        return False
    names = [item.value.get("name") if isinstance(item.value, dict) else None for item in node.value]
    texts = [name.value for name in names if name is not None and isinstance(name.value, str)]
    return len(texts) == len(names) == len(set(texts))


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./ -]*[A-Za-z0-9_/]\Z|[A-Za-z]\Z")


class _Dumper(yaml.SafeDumper):
    """Texts in quotes unless they can be nothing else: our reader follows YAML 1.2, PyYAML's rules are those of 1.1."""

    def ignore_aliases(self, data: Any) -> bool:
        """Everything is written out."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if _PLAIN.match(value) and parse_yaml(value).plain() == value else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    special = {float("inf"): ".inf", float("-inf"): "-.inf"}
    text = ".nan" if value != value else special.get(value) or repr(value)
    if "e" in text and "." not in text:  # PyYAML takes 1e+22 for a text, and would write a tag before it
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _float)


def dump_yaml(value: Any) -> str:
    """A value as YAML that our reader takes for the same; the same value gives the same text."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))

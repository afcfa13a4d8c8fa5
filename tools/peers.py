"""Foreign programs that the tests talk to: which there are, and how to install the missing ones.

``list`` prints one line a program; ``install`` brings the npm and Python packages of ``tests/peers`` (with ``--debian``
those of Debian instead). Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import console

PEERS_DIR = Path(__file__).resolve().parent.parent / "tests" / "peers"
NPM_PEERS = (
    "node-opcua",
    "jsmodbus",
    "modbus-serial",
    "node-bacnet",
    "sparkplug-client",
    "sparkplug-payload",
    "node-snap7",
    "@nats-io/nats-core",
    "@nats-io/nkeys",
    "oidc-provider",
)
PAGES = ("console", "playwright")  # what the pages are made of and driven by: built, and of the environment
RIGHTS = ("mount",)  # what a machine may withhold from everybody; nothing can be installed to gain it
PYTHON_PEERS = {  # of other licences or with other pins: each in a venv, run as a process
    "cpppo": "cpppo==5.2.5",
    "modbus-tk": "modbus-tk==1.1.5",
    "pysparkplug": "pysparkplug==0.6.1",
    "mqtt-spb-wrapper": "mqtt-spb-wrapper==2.1.2",
    "helm-python-sdk": "helm-python-sdk==0.2.2",  # Helm's own library, to lint and render the chart
    "kubernetes-validate": "kubernetes-validate==1.37.0",  # the schemas of Kubernetes
    "tryton": "trytond-production-work>=7.0,<7.1",  # an ERP, with all that its module for production needs
    "chdb": "chdb-core==26.9.0",  # ClickHouse's own engine: no server of it can be installed here
    "ziglang": "ziglang==0.17.1",  # a compiler for C, to build the WebAssembly examples again
}
ALONE = ("chdb",)  # used without what it says it requires: pandas and pyarrow, for what the tests do not call
PREPARED = {"tryton": ("tryton_plant.py", "plant.sqlite")}  # peers that take long to set up: what makes which file
DEBIAN_PROGRAMS = {
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "postgres": "postgresql",
    "curl": "curl",
    "chromium": "chromium-headless-shell",
    "systemd-analyze": "systemd",
}
QUICK_BROWSER = "chromium-headless-shell"  # the same engine with nothing around its pages: a quarter less work
UPDATE_S = 60.0  # for what is welcome only


def is_present(name: str) -> bool:
    """True when the peer can be used on this machine."""
    if name == "mount":
        return _may_mount()
    if name == "console":
        return console.is_fresh() and (console.SOURCE / "node_modules").is_dir()
    if name in ("playwright", "onnxruntime", "sklearn", "onnx"):
        return importlib.util.find_spec(name) is not None
    if name in NPM_PEERS:
        return shutil.which("node") is not None and (PEERS_DIR / "node_modules" / name / "package.json").exists()
    if name in PYTHON_PEERS:
        return venv_python(name).exists() and (name not in PREPARED or prepared_file(name).exists())
    return program_path(name) is not None


def venv_python(name: str) -> Path:
    """The interpreter of a Python peer's own environment."""
    return PEERS_DIR / "venvs" / name / "bin" / "python"


def prepared_file(name: str) -> Path:
    """What was made once for a Python peer; tests take copies of it."""
    script, file = PEERS_DIR / PREPARED[name][0], Path(PREPARED[name][1])
    digest = hashlib.sha256(script.read_bytes()).hexdigest()[:8]  # another script makes another file
    return PEERS_DIR / "venvs" / name / f"{file.stem}-{digest}{file.suffix}"


def _may_mount() -> bool:
    """Small file systems of their own need CAP_SYS_ADMIN (bit 21)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return False
    capabilities = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(capabilities, 16) >> 21 & 1) and shutil.which("mount") is not None


def program_path(name: str) -> str | None:
    """Where the program is; Debian keeps those of its servers off the path. The quicker Chromium comes first."""
    if name == "chromium" and (quick := shutil.which(QUICK_BROWSER)) is not None:
        return quick
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
    folders += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=":".join(folders))


def install_debian() -> None:
    """Install the Debian programs that are missing; needs root. A quicker browser than the one that is there is
    welcome, not needed."""
    packages = sorted({package for program, package in DEBIAN_PROGRAMS.items() if program_path(program) is None})
    if shutil.which("node") is None or shutil.which("npm") is None:
        packages += ["nodejs", "npm"]
    if packages:
        _apt(packages)
    elif program_path("chromium") != shutil.which(QUICK_BROWSER):
        try:
            _apt([QUICK_BROWSER], UPDATE_S)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no {QUICK_BROWSER}, the tests take the chromium that is here: {error}", file=sys.stderr)


def _apt(packages: list[str], patience_s: float | None = None) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment, timeout=patience_s)
    # No service may start: the tests run their own brokers on free ports.
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", *packages],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


def install_npm() -> None:
    """Install tests/peers/package.json when something of it is missing."""
    if shutil.which("npm") is None or all(is_present(name) for name in NPM_PEERS):
        return
    subprocess.run(
        ["npm", "install", "--omit=optional", "--no-audit", "--no-fund", "--silent", "--no-package-lock"],
        check=True,
        cwd=PEERS_DIR,
    )


def install_console() -> None:
    """Build the console, with what its own tests need; a machine that cannot goes on, and its tests are listed."""
    if is_present("console"):
        return
    try:
        if console.find_npm() is None:  # none here, or one that is too old
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", console.NODE_WHEEL], check=True)
        console.build()
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"the console is not built: {error}", file=sys.stderr)


def install_python(name: str, requirement: str) -> None:
    """Make an environment for a Python peer that is missing, without a pip of its own."""
    if is_present(name):
        return
    folder = PEERS_DIR / "venvs" / name
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv_python(name)), "install", "--quiet", "--no-compile"]
    try:
        subprocess.run([*pip, *(["--no-deps"] if name in ALONE else []), requirement], check=True)
    except BaseException:
        shutil.rmtree(folder)  # with nothing in it, it would be taken for the peer
        raise
    if name in PREPARED:
        script, file = PEERS_DIR / PREPARED[name][0], prepared_file(name)
        subprocess.run([str(venv_python(name)), str(script), str(file)], check=True, stderr=subprocess.DEVNULL)


def install_foreign() -> None:
    """What needs nothing of the project's environment, while that is being made. What fails here is left to
    `install_all`, which says why."""
    npm = threading.Thread(target=_try, args=(install_npm,))
    npm.start()
    for name in _slowest_first():
        _try(install_python, name, PYTHON_PEERS[name])
    npm.join()


def _try(install: Callable[..., None], *arguments: str) -> None:
    try:
        install(*arguments)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"once more later: {error}", file=sys.stderr)


def _slowest_first() -> list[str]:
    return sorted(PYTHON_PEERS, key=lambda name: name not in PREPARED)


def install_all() -> None:
    """Everything but Debian's programs, two at a time: much of it is waiting for a network. Raises the first error."""

    def pages() -> None:
        install_npm()
        install_console()  # its npm packages come after the others: one npm at a time

    with ThreadPoolExecutor(2) as pool:
        peers = (pool.submit(install_python, name, PYTHON_PEERS[name]) for name in _slowest_first())
        started = [pool.submit(pages), *peers]
    for one in started:
        one.result()


def main() -> int:
    """Run the chosen command; exit 1 when CI is set and something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["list", "install"])
    parser.add_argument("--debian", action="store_true", help="install Debian packages only")
    parser.add_argument("--foreign", action="store_true", help="install only what needs no environment; never fails")
    arguments = parser.parse_args()
    if arguments.command == "install":
        if arguments.debian:
            install_debian()
        elif arguments.foreign:
            install_foreign()
        else:
            install_all()
        return 0
    missing = [name for name in (*NPM_PEERS, *PAGES, *PYTHON_PEERS, *DEBIAN_PROGRAMS) if not is_present(name)]
    for name in missing:
        print(
            f"missing: {name} (its tests are skipped and listed; `make peers` installs them)",
            file=sys.stderr,
        )
    return 1 if missing and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main())

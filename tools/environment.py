"""Make the environment of the Makefile and install into it: `python3 tools/environment.py .venv '.[all]'`.

Standard library only, and no syntax newer than Python 3.6, so that one that is too old can still say so. Progress and
errors go to standard error, since standard output belongs to the command that needed the environment.
"""

import os
import subprocess
import sys
import time

PYTHON_MIN = (3, 11)


def problem() -> str:
    """Why this Python cannot make an environment, and what to do; empty when it can."""
    version = tuple(sys.version_info[:2])
    if version < PYTHON_MIN:
        return (
            f"{sys.executable} is Python {version[0]}.{version[1]}, expected {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer; "
            "install one and name it: make PYTHON=/path/to/python3.11 ..."
        )
    try:
        import ensurepip  # noqa: F401  (Debian has it in a package of its own)
        import venv  # noqa: F401
    except ImportError as error:
        return (
            f"{sys.executable} cannot make environments: no module {error.name}; on Debian and Ubuntu: "
            f"apt-get install python{version[0]}.{version[1]}-venv, else name another: make PYTHON=/path/to/python3 ..."
        )
    return ""


def is_whole(python: str) -> bool:
    """True when the environment is there with pip: an interrupted attempt leaves one without."""
    if not os.access(python, os.X_OK):
        return False
    return (
        subprocess.call([python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    )


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main(folder: str, wanted: str) -> int:
    """Make `folder` if need be and install `wanted` there; the exit status."""
    reason = problem()
    if reason:
        say(reason)
        return 1
    python = os.path.join(folder, "bin", "python")
    start_s = time.monotonic()
    if not is_whole(python):
        say(f"making {folder} with {sys.executable} ...")
        if subprocess.call([sys.executable, "-m", "venv", "--clear", folder]) != 0:
            say(f"{folder} could not be made; the reason stands above")
            return 1
    say(f"installing {wanted} into {folder}, once; this may take a minute or two ...")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", wanted]
    if subprocess.call(command, env=dict(os.environ, MILLSTREAM_SKIP_CONSOLE="1")) != 0:  # see hatch_build.py
        say(
            "pip could not install what is needed; its reason stands above. It needs the network, or a package index "
            "named by PIP_INDEX_URL; then run the same command again"
        )
        return 1
    say(f"ready after {time.monotonic() - start_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

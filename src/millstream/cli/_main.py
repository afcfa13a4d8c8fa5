"""The entry: take the global flags, parse, run one command, turn its errors into lines and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from cyclopts import App, CycloptsError, Group, UnknownCommandError

from millstream import __version__
from millstream.cli._commands import COMMANDS, PARENTS
from millstream.cli._output import INTERRUPTED, OK, report_error, report_usage
from millstream.kernel import PlantError, suggest

EPILOGUE = """Every command: `--json` for programs, `--no-color`, `--debug` for tracebacks.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 denied, 5 no connection, 6 a check failed, 130 interrupted.
"""


def build_app(detailed: str | None = None) -> App:
    """The application; no command's module is imported. The help of the `detailed` one ("*": of all) is its whole
    docstring, with the examples."""
    app = App(
        name="millstream",
        help="From any machine to one namespace: durable, counted, visible.",
        help_epilogue=EPILOGUE,
        help_format="markdown",
        version=__version__,
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        group_parameters=Group("Parameters", sort_key=10),
    )
    groups: dict[str, Group] = {}
    parents: dict[str, App] = {}
    for index, command in enumerate(COMMANDS):
        group = groups.setdefault(command.group, Group(command.group, sort_key=index))
        parent, _, name = command.name.rpartition(" ")
        target = f"millstream.cli.{command.target}"
        summary = None if detailed in (command.name, "*") else command.help
        if not parent:
            app.command(target, name=name, help=summary, group=group, help_epilogue="")
            continue
        _parent(app, parents, parent, group).command(target, name=name, help=summary)
    return app


def _parent(app: App, parents: dict[str, App], name: str, group: Group) -> App:
    """The application of a command's first words, below that of the words before the last."""
    if name not in parents:
        above, _, last = name.rpartition(" ")
        parents[name] = App(name=last, help=PARENTS[name], help_epilogue="", group=None if above else group)
        (_parent(app, parents, above, group) if above else app).command(parents[name])
    return parents[name]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    # NumPy starts threads for linear algebra, which nothing here does: a seventh of what a command takes to start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    tokens = list(sys.argv[1:] if argv is None else argv)
    is_debug = _take(tokens, "--debug")
    if _take(tokens, "--no-color"):
        os.environ["NO_COLOR"] = "1"
    is_json = "--json" in tokens
    try:
        return _run(tokens, is_json)
    except PlantError as error:
        if is_debug:
            raise
        return report_error(error, is_json=is_json)
    except BaseExceptionGroup as group:
        if is_debug or (first := _first_plant_error(group)) is None:
            raise
        return report_error(first, is_json=is_json)
    except BrokenPipeError:
        # The reader has gone (`| head`): that is its right. Python must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(tokens: list[str], is_json: bool) -> int:
    if tokens[:1] in (["demo"], ["torture"]):  # they have parsers of their own, whom --help must reach
        run = import_module(f"millstream.{tokens[0]}").main
        return int(run(tokens[1:]))
    if tokens[:2] == ["edge", "join"]:  # said either way; `edge` itself takes no sub-commands
        tokens = tokens[1:]
    if tokens[:2] == ["sim", "run"] and len(tokens) > 2 and not tokens[2].startswith("-"):
        return int(import_module("millstream.cli._sim").run_device(*tokens[2:]))
    words = [token for token in tokens if not token.startswith("-")]
    names = {command.name for command in COMMANDS}
    app = build_app(next((" ".join(words[:count]) for count in (3, 2, 1) if " ".join(words[:count]) in names), None))
    try:
        result = app(tokens or ["--help"])
    except CycloptsError as error:
        message, tip = _usage(error, tokens)
        return report_usage(message, tip, is_json=is_json)
    sys.stdout.flush()
    return result if isinstance(result, int) else OK


def _usage(error: CycloptsError, tokens: Sequence[str]) -> tuple[str, str | None]:
    words = [token for token in tokens if not token.startswith("-")]
    names = sorted({command.name for command in COMMANDS} | {command.name.split()[0] for command in COMMANDS})
    if isinstance(error, UnknownCommandError):
        unknown = (error.unused_tokens or words or ["?"])[0]
        near = suggest(" ".join([*words[: words.index(unknown)], unknown]) if unknown in words else unknown, names)
        tip = f"did you mean `millstream {near}`?" if near else "`millstream --help` lists the commands"
        return f"unknown command '{unknown}'", tip
    message = " ".join(str(error).split())
    message = message[:1].lower() + message[1:].rstrip(".")
    command = next((" ".join(words[:count]) for count in (3, 2, 1) if " ".join(words[:count]) in names), "")
    return message, f"`millstream {f'{command} ' if command else ''}--help` shows the usage"


def _take(tokens: list[str], flag: str) -> bool:
    """Remove a flag that stands before a lone ``--``."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    if flag not in tokens[:end]:
        return False
    tokens.remove(flag)
    return True


def _first_plant_error(group: BaseExceptionGroup[BaseException]) -> PlantError | None:
    """The one expected error of a group, None when there is an unexpected one in it."""
    leaves: list[BaseException] = []
    todo: list[BaseException] = [group]
    while todo:
        error = todo.pop()
        if isinstance(error, BaseExceptionGroup):
            todo += error.exceptions
        else:
            leaves.append(error)
    plants = [error for error in leaves if isinstance(error, PlantError)]
    return plants[0] if plants and len(plants) == len(leaves) else None

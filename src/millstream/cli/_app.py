"""The commands by name. Each lives in a module that is loaded only when it is asked for."""

from __future__ import annotations

import sys

from cyclopts import App

import millstream
from millstream.cli._output import print_error
from millstream.kernel import PlantError

_COMMANDS = {
    "edge": "_nodes:edge",
    "hub": "_nodes:hub",
    "up": "_nodes:up",
    "demo": "_nodes:demo",
    "check": "_configuration:check",
    "schema": "_configuration:schema",
    "explain": "_configuration:explain",
    "probe": "_devices:probe_devices",
    "browse": "_devices:browse_device",
    "tail": "_data:tail",
    "get": "_data:get",
    "tree": "_data:tree",
    "query": "_data:query",
    "ledger": "_state:ledger",
    "status": "_state:status",
    "doctor": "_doctor:doctor",
    "top": "_top:top",
}
_DEAD_LETTERS = {"list": "_deadletter:list_letters", "show": "_deadletter:show", "replay": "_deadletter:replay"}


def make_app() -> App:
    """The command line, lazily: ``--help`` loads neither NATS nor Arrow."""
    app = App(
        name="millstream",
        version=millstream.__version__,
        help="From any machine to one unified namespace: durable, counted, visible.",
        result_action="return_value",
    )
    for name, target in _COMMANDS.items():
        app.command(f"millstream.cli.{target}", name=name)
    letters = App(
        name="deadletter", help="What could not be understood: list, show, replay.", result_action="return_value"
    )
    for name, target in _DEAD_LETTERS.items():
        letters.command(f"millstream.cli.{target}", name=name)
    app.command(letters)
    return app


def main(argv: list[str] | None = None) -> None:
    """Run one command and exit with its status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[:1] == ["demo"]:  # it parses its own words, so that `make demo ARGS=...` and this are one
            from millstream.demo import main as run_demo

            status = run_demo(words[1:])
        else:
            status = make_app()(words)
    except PlantError as error:
        status = print_error(error, is_json="--json" in words)
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        status = 0
    sys.exit(status if isinstance(status, int) else 0)

"""``notify``: sends notifications of alarms by e-mail, webhook and MQTT."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, note, print_json
from millstream.kernel import SystemClock


def notify(
    *,
    config: Annotated[Path, Parameter(name=["--config", "-c"])],
    check: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Send what the flow `notify` says, by e-mail, webhook and MQTT, until a signal.

    One process a journal. What was said is in the node's streams: the sender goes on where it was.

    Examples:

        millstream notify -c notify.yaml --check
        millstream notify -c notify.yaml --node data --json

    Parameters
    ----------
    config
        The sender's file: its journal and its channels.
    check
        Only check the file.
    json
        Log one object a line on standard output.
    """
    from millstream.config import load_notifier

    loaded, findings = load_notifier(config)
    for finding in findings:
        note(str(finding))
    if loaded is None:
        return CHECK_FAILED
    if check:
        return OK

    async def work() -> int:
        """Send until SIGTERM or SIGINT."""
        from millstream.client import Notifier

        def say(text: str) -> None:
            print_json({"text": text}) if json else note(text)

        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with target.connect() as plant:
            sending = asyncio.ensure_future(Notifier(plant, loaded, SystemClock(), say).run())
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not stop.is_set():
                await sending
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        return OK

    return run(work())

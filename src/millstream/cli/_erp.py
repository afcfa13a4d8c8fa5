"""``erp run|check``: orders in from an ERP or MES, confirmations out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_table
from millstream.kernel import SystemClock

Config = Annotated[Path, Parameter(name=["--config", "-c"])]


def run_erp(*, config: Config, json: Json = False, target: Target = DEFAULT) -> int:
    """Read orders from an ERP or MES, confirm what was made, until a signal.

    One process a journal, beside the node (an edge or a hub). A system that is away is asked again.

    Examples:

        millstream erp run -c erp.yaml
        millstream erp run -c erp.yaml --node data/hub --json

    Parameters
    ----------
    config
        The file with systems, reads and confirmations.
    json
        Log one object a line on standard output.
    """
    from millstream.config import load_erp

    loaded, findings = load_erp(config)
    for finding in findings:
        note(str(finding))
    if loaded is None:
        return CHECK_FAILED

    async def work() -> int:
        """Work until SIGTERM or SIGINT."""
        from millstream.erp import open_erp

        def tell(what: Mapping[str, Any]) -> None:
            print_json(what) if json else note(_line(what))

        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with target.connect() as plant, open_erp(plant, loaded, SystemClock(), tell) as erp:
            working, stopping = asyncio.ensure_future(erp.run()), asyncio.ensure_future(stop.wait())
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not stop.is_set():
                await working
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        return OK

    return run(work())


def check(*, config: Config, json: Json = False, target: Target = DEFAULT) -> int:
    """Show what would come in and go out now, and store nothing.

    Exit status 6: the file is wrong, a system cannot be asked, or rows are refused.

    Examples:

        millstream erp check -c erp.yaml
        millstream erp check -c erp.yaml --json | jq '.reads[].refused'

    Parameters
    ----------
    config
        The file with systems, reads and confirmations.
    json
        Print one object.
    """
    from millstream.config import load_erp

    loaded, findings = load_erp(config)
    for finding in findings:
        note(str(finding))
    if loaded is None:
        return CHECK_FAILED

    async def work() -> int:
        """Ask, judge, print."""
        from millstream.erp import open_erp

        async with target.connect() as plant, open_erp(plant, loaded, SystemClock(), lambda _: None) as erp:
            found = await erp.check()
        print_json(found) if json else _show(found)
        is_fine = not any(read.get("error") or read.get("refused") for read in found["reads"])
        return OK if is_fine else CHECK_FAILED

    return run(work())


def _show(found: Mapping[str, Any]) -> None:
    for read in found["reads"]:
        if error := read.get("error"):
            note(f"{read['read']}: {error['message']} [{error['code']}]")
            continue
        note(f"{read['read']}: {read['rows']} rows, {len(read['new'])} facts are new, {len(read['refused'])} refused")
        print_table(("path", "data"), [(fact["path"], fact["data"]) for fact in read["new"]])
        print_table(("refused", "reason"), [(each["row"], each["reason"]) for each in read["refused"]])
    for confirm in found["confirms"]:
        note(f"{confirm['confirm']}: {len(confirm['due'])} to be confirmed")
        rows = [(t["order"], t["good"], t["rejected"], t["revision"]) for t in confirm["due"]]
        print_table(("order", "good", "rejected", "revision"), rows, right=("good", "rejected", "revision"))


def _line(what: Mapping[str, Any]) -> str:
    name = what.get("read") or what.get("confirm") or what.get("name")
    if "read" in what:
        parts = [f"{what['rows']} rows, {what['taken']} facts taken, {what['refused']} refused"]
        parts += [f"{each['row']}: {each['reason']}" for each in what["newly_refused"]]
    elif what["state"] == "confirmed":
        parts = [f"{what['order']} is confirmed: {what['good']:g} good, {what['rejected']:g} rejected ({what['how']})"]
    elif "message" in what:
        where = what.get("order") or what.get("where")
        parts = [f"{where}: {what['message']}, got {what.get('got')} [{what['code']}]"]
    else:
        parts = [str(what["state"])]
    return f"{name}: {'; '.join(parts)}"

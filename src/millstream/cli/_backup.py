"""``backup``, ``restore``: a hub as a folder of files, and back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, PASSWORD_VARIABLE, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, json_text, note, print_json, print_text
from millstream.kernel import ConfigError, SystemClock

if TYPE_CHECKING:
    from millstream.config import HubConfig
    from millstream.hub import Manifest


def backup(
    folder: Path, /, *, history: Annotated[bool, Parameter(negative="--no-history")] = True, before: Path | None = None,
    json: Json = False, target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Copy a running hub's history, streams, buckets and consumers into a folder.

    Each copy is proved: a server of its own is made from it, and what that holds is counted and digested. The hub goes
    on meanwhile. Passwords and keys are not in it.

    Examples:

        millstream backup /backup/2026-01-31
        millstream backup /backup/2026-01-31 --node data/hub --json
        millstream backup /backup/2026-02-01 --before /backup/2026-01-31

    Parameters
    ----------
    folder
        A folder that does not exist yet.
    history
        Copy the history, too; without it a restored hub reads its streams into a new one.
    before
        An earlier backup on the same disk: days of the history that have not changed since are not copied again.
    json
        Print what is in it as one object.
    """

    async def work() -> int:
        """Over a connection of the plant's own account, which may ask for snapshots."""
        from millstream.bus import RawConnection
        from millstream.client import find_node, me
        from millstream.hub import HistoryAsk, back_up

        address = find_node(
            None if target.url is not None else target.node, url=target.url, user=target.user,
            password=os.environ.get(PASSWORD_VARIABLE), creds_file=target.creds, tls=target.tls,
        )  # fmt: skip
        if address.role not in ("hub", None):
            raise ConfigError("not a hub", where=address.nats_url, next_step="name its data directory with --node")
        async with RawConnection(address.nats_url, credentials=address.credentials, name="backup") as connection:
            manifest = await back_up(
                connection, folder, hub=address.name or "hub", clock=SystemClock(), say=_quiet if json else note,
                history=HistoryAsk(me(), before) if history else None,
            )  # fmt: skip
        _show(manifest, folder, is_json=json)
        return OK

    return run(work())


def restore(
    folder: Path, /, *,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    replace: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:  # fmt: skip
    """Check a backup, and with --config make a hub from it.

    The hub must not run. Each stream is compared with what the backup says of it: count, range, digest, and the recount
    of the ledger. What edges sent after the backup comes from them again when they are back.

    Examples:

        millstream restore /backup/2026-01-31
        millstream restore /backup/2026-01-31 --config hub.yaml

    Parameters
    ----------
    folder
        What `millstream backup` wrote.
    config
        The hub file; left out, only the backup itself is checked.
    replace
        Delete what the hub holds.
    json
        Print what is in it as one object.
    """
    from millstream.config import load_hub
    from millstream.flow.library import FLOW_TYPES
    from millstream.hub import load_manifest

    if config is None:
        manifest = load_manifest(folder)
        _show(manifest, folder, is_json=json)
        return OK
    loaded, findings = load_hub(config, FLOW_TYPES)
    if loaded is None:
        for finding in findings:
            note(json_text({"error": finding.as_dict()}) if json else str(finding))
        return CHECK_FAILED

    async def work() -> int:
        """With the hub's own server, and nobody else on it."""
        _show(await _restore(loaded, folder, is_replacing=replace, is_quiet=json), folder, is_json=json)
        return OK

    return run(work())


async def _restore(config: HubConfig, folder: Path, *, is_replacing: bool, is_quiet: bool) -> Manifest:
    from dataclasses import replace as changed

    from millstream.bus import NatsServer
    from millstream.hub import give_history, history_dir, server_settings, shown
    from millstream.hub import restore as restore_streams

    if config.server.url is not None or config.trust is not None or config.cluster is not None:
        raise ConfigError(
            "this hub cannot be restored by one command yet", where="server.url, trust or cluster",
            expected="a hub of one box and one plant",
        )  # fmt: skip
    data_dir = Path(config.hub.data_dir)
    await asyncio.to_thread(data_dir.mkdir, parents=True, exist_ok=True)
    settings = changed(server_settings(config), leaf_listener=None, mqtt_port=None, websocket_port=None, port=0)
    say = _quiet if is_quiet else note
    async with NatsServer(settings, data_dir) as server, server.connect("restore") as connection:
        manifest = await restore_streams(connection, folder, is_replacing=is_replacing, say=say)
        if config.historian is not None and config.historian.engine is None:
            kept = history_dir(config)
            proof = await give_history(connection, manifest, folder, kept, is_replacing=is_replacing)
            say(f"history: {shown(proof)}, as backed up" if proof is not None else "history: not in this backup")
    return manifest


def _quiet(_: str) -> None:
    """Say nothing."""


def _show(manifest: Manifest, folder: Path, *, is_json: bool) -> None:
    streams = {entry.name: entry.proof.messages for entry in manifest.streams}
    if is_json:
        from msgspec import to_builtins

        history = None if manifest.history is None else to_builtins(manifest.history.proof)
        about = {"hub": manifest.hub, "made": manifest.made, "streams": streams, "history": history}
        print_json({"folder": str(folder), **about})
    else:
        held = f"{len(streams)} streams, {sum(streams.values())} messages"
        print_text(f"{folder}: hub {manifest.hub} of {manifest.made}, {held}, whole")

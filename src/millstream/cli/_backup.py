"""``backup``, ``restore``: a hub as a folder of files, and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, PASSWORD_VARIABLE, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, json_text, note, print_json, print_text
from millstream.kernel import ConfigError, SystemClock

if TYPE_CHECKING:
    from millstream.client import NodeAddress
    from millstream.hub import HistoryAsk, Manifest


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
        """Over connections of the plants' own accounts, which may ask for snapshots."""
        from millstream.client import PROVIDER, find_node, me
        from millstream.hub import HistoryAsk

        address = find_node(
            None if target.url is not None else target.node, url=target.url, user=target.user,
            password=os.environ.get(PASSWORD_VARIABLE), creds_file=target.creds, tls=target.tls,
            tenant=target.tenant or PROVIDER,
        )  # fmt: skip
        if address.role not in ("hub", None):
            raise ConfigError("not a hub", where=address.nats_url, next_step="name its data directory with --node")
        asked = HistoryAsk(me(), before) if history else None
        whole = address.tenants is not None and target.creds is None and target.tenant is None
        manifest = await _back_up(address, folder, asked, is_whole=whole, say=_quiet if json else note)
        _show(manifest, folder, is_json=json)
        return OK

    return run(work())


async def _back_up(
    address: NodeAddress, folder: Path, asked: HistoryAsk | None, *, is_whole: bool, say: Callable[[str], None]
) -> Manifest:
    """One plant; with `is_whole` a hub with all its tenants."""
    from millstream.bus import Credentials, RawConnection
    from millstream.hub import back_up, back_up_tenants

    hub, clock = address.name or "hub", SystemClock()
    if not is_whole:
        async with RawConnection(address.nats_url, credentials=address.credentials, name="backup") as connection:
            return await back_up(connection, folder, hub=hub, clock=clock, say=say, history=asked)
    assert address.tenants is not None
    logins = {file.stem: file for file in sorted(address.tenants.glob("*.creds")) if file.stem != "system"}

    def connect(name: str) -> RawConnection:
        login = Credentials(creds_file=logins[name], tls=address.tls)
        return RawConnection(address.nats_url, credentials=login, name="backup")

    tenants = [name for name in logins if name != "provider"]
    return await back_up_tenants(connect, tenants, folder, hub=hub, clock=clock, say=say, history=asked)


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
        from millstream.hub import restore_hub

        say = _quiet if json else note
        manifest = await restore_hub(loaded, folder, is_replacing=replace, say=say, clock=SystemClock())
        _show(manifest, folder, is_json=json)
        return OK

    return run(work())


def _quiet(_: str) -> None:
    """Say nothing."""


def _show(manifest: Manifest, folder: Path, *, is_json: bool) -> None:
    about: dict[str, Any] = {"hub": manifest.hub, "made": manifest.made}
    parts = _parts_of(manifest, folder)
    if is_json:
        shown = {name: _contents(part) for name, part in parts.items()}
        print_json({"folder": str(folder), **about, **shown.get("", {"parts": shown})})
        return
    counts = [entry.proof.messages for part in parts.values() for entry in part.streams]
    held = f"{len(counts)} streams, {sum(counts)} messages"
    if manifest.parts:
        held = f"{sum(part.is_tenant for part in manifest.parts)} tenants, {held}"
    print_text(f"{folder}: hub {manifest.hub} of {manifest.made}, {held}, whole")


def _parts_of(manifest: Manifest, folder: Path) -> dict[str, Manifest]:
    """By name; a backup of one plant is its only part, without a name."""
    from millstream.hub import load_manifest

    return {part.name: load_manifest(folder / part.folder, is_checked=False) for part in manifest.parts} or {
        "": manifest
    }


def _contents(manifest: Manifest) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        "streams": {entry.name: entry.proof.messages for entry in manifest.streams},
        "history": None if manifest.history is None else to_builtins(manifest.history.proof),
    }

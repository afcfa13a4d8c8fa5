"""``tls``: certificates of nodes, by an authority in a folder. No network, no node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from millstream.cli._keys import now_s
from millstream.cli._options import Json
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_text
from millstream.kernel import NotFoundError

if TYPE_CHECKING:
    from millstream.tls import CertificateFacts, CertificateFiles

Folder = Annotated[Path, Parameter(name=["--folder"], env_var="MILLSTREAM_TLS", group=Group("Authority", sort_key=88))]
Names = Annotated[list[str] | None, Parameter(name="--name", negative="")]
HERE = Path("tls")


def init(name: str = "millstream", /, *, days: int = 3650, folder: Folder = HERE, json: Json = False) -> int:
    """Make an authority of your own: a folder that signs certificates of nodes.

    `ca.pem` is what edges, programs and people trust; `ca.key` signs, and whoever has it can be any node.

    Examples:

        millstream tls init
        millstream tls init acme-plant --folder /safe/tls --json

    Parameters
    ----------
    name
        Of the authority, as certificates show it.
    days
        How long it is good.
    folder
        Where it lies.
    json
        Print an object.
    """
    from millstream.tls import make_authority

    return _told(make_authority(folder, name, now_s(), days=days), is_json=json)


def issue(node: str, /, *, name: Names = None, days: int = 365, folder: Folder = HERE, json: Json = False) -> int:
    """Make the certificate of a node, for the names by which others reach it.

    It is good on the node's own machine (localhost, 127.0.0.1, ::1), too.

    Examples:

        millstream tls issue hub1 --name hub.example --name 10.0.0.5
        millstream tls issue cologne --days 90 --json

    Parameters
    ----------
    node
        Names the files: NODE.pem and NODE.key.
    name
        A host name or address; may be repeated.
    days
        How long it is good.
    folder
        Of the authority.
    json
        Print an object.
    """
    from millstream.tls import issue

    return _told(issue(folder, node, name or (), now_s(), days=days), is_json=json)


def renew(node: str, /, *, days: int = 365, folder: Folder = HERE, json: Json = False) -> int:
    """Make a new key and certificate for the same names, in the place of the old.

    A node that has these very files takes the new ones within seconds, without a restart; links stay.

    Examples:

        millstream tls renew hub1
        millstream tls renew hub1 --days 90 --json

    Parameters
    ----------
    node
        As given to `tls issue`.
    days
        How long it is good.
    folder
        Of the authority.
    json
        Print an object.
    """
    from millstream.tls import renew

    return _told(renew(folder, node, now_s(), days=days), is_json=json)


def rollover(*, finish: bool = False, days: int = 3650, folder: Folder = HERE, json: Json = False) -> int:
    """Replace the authority step by step, while every link stays.

    First: a new one signs, and `ca.pem` has both. Bring `ca.pem` to all who trust it, renew every certificate, then
    --finish takes the old one out.

    Examples:

        millstream tls rollover
        millstream tls rollover --finish --json

    Parameters
    ----------
    finish
        Take the old authority out of `ca.pem`.
    days
        How long the new one is good.
    folder
        Of the authority.
    json
        Print an object.
    """
    from millstream.tls import Authority, begin_roll_over, end_roll_over

    if not finish:
        made = begin_roll_over(folder, now_s(), days=days)
        note(f"bring {made.certificate} to all who trust it, then renew every certificate")
        return _told(made, is_json=json)
    removed = end_roll_over(folder)
    bundle = Authority(folder).bundle
    if json:
        print_json({"ca_file": str(bundle), "removed": [facts.as_dict() for facts in removed]})
    else:
        print_text(f"{bundle} has the new authority only")
    return OK


def show(file: Path | None = None, /, *, folder: Folder = HERE, json: Json = False) -> int:
    """Show certificates: for whom, from whom, until when.

    Exit status 6 when one has expired or ends soon.

    Examples:

        millstream tls show
        millstream tls show /etc/millstream/hub.pem --json | jq '.certificates[].not_after_s'

    Parameters
    ----------
    file
        A certificate or a bundle; left out: all of the folder.
    folder
        Of the authority.
    json
        Print one object.
    """
    from millstream.sdk import TlsFiles
    from millstream.tls import check_files, read_facts

    files = [file] if file is not None else sorted(folder.glob("*.pem"))
    if not files:
        raise NotFoundError(
            "no certificates here", where=str(folder), next_step="make an authority: `millstream tls init`",
            code="MS-2510",
        )  # fmt: skip
    shown: list[dict[str, Any]] = []
    for path in files:
        key = path.with_suffix(".key")
        pair = TlsFiles(certificate=path, key=key if key.exists() else None)
        wrong = {fault.code: str(fault) for fault in check_files(pair, (), now_s()) if pair.key or fault.key != "key"}
        for index, facts in enumerate(read_facts(path)):
            shown.append({"file": str(path), **facts.as_dict(), "faults": wrong if index == 0 else {}})
            if not json:
                _print(path, facts, list(wrong.values()) if index == 0 else [])
    is_bad = any(entry["faults"] for entry in shown)
    if json:
        print_json({"ok": not is_bad, "certificates": shown})
    return CHECK_FAILED if is_bad else OK


def _print(path: Path, facts: CertificateFacts, wrong: list[str]) -> None:
    from millstream.tls import day_text

    kind = "authority" if facts.is_authority else ", ".join(facts.names)
    print_text(f"{path}  until {day_text(facts.not_after_s)}  {kind}")
    for text in wrong:
        print_text(f"  ! {text}")


def _told(made: CertificateFiles, *, is_json: bool) -> int:
    if is_json:
        print_json({"certificate": str(made.certificate), "key": str(made.key), **made.facts.as_dict()})
    else:
        _print(made.certificate, made.facts, [])
    return OK

"""``deadletter list | show | replay | drop``."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import FAILED, OK, note, print_json, print_table, print_text, shown
from millstream.kernel import PlantError
from millstream.protocols.cloudevents import format_time

if TYPE_CHECKING:
    from millstream.client import DeadLetter, Plant

HEX_BYTES = 16
SHOWN_BYTES_MAX = 4096  # of the dump on a terminal; --raw gives all
REPLAY_ALL_MAX = 10_000


def list_(*, limit: int = 50, json: Json = False, target: Target = DEFAULT) -> int:
    """List what could not become data.

    Examples:

        millstream deadletter list
        millstream deadletter list --json | jq -r .reason | sort | uniq -c

    Parameters
    ----------
    limit
        The newest so many.
    json
        Print one object a line.
    """

    async def work() -> int:
        """Newest last, as in a log."""
        async with target.connect() as plant:
            letters, total = await plant.dead_letters(limit=limit)
        if json:
            for letter in letters:
                print_json(letter.as_dict())
            return OK
        if letters:
            rows = [
                (x.id, format_time(x.time_ns)[:19], x.source, x.path or "", len(x.payload), f"{x.reason} [{x.code}]")
                for x in letters
            ]
            print_table(("id", "time", "source", "path", "bytes", "reason"), rows, right=("bytes",))
        note(
            f"{total} dead letter{'s' if total != 1 else ''}" + (f", the newest {limit} shown" if total > limit else "")
        )
        return OK

    return run(work())


def show(
    id: str, /, *, raw: Annotated[bool, Parameter(negative="")] = False, json: Json = False, target: Target = DEFAULT
) -> int:
    """Show one dead letter with its raw bytes.

    Examples:

        millstream deadletter show E_edge1_DLQ:7
        millstream deadletter show E_edge1_DLQ:7 --raw > frame.bin

    Parameters
    ----------
    id
        As `millstream deadletter list` shows it.
    raw
        Write the bytes alone.
    json
        Print one object; the bytes are base64.
    """

    async def work() -> int:
        """Fetch and print."""
        async with target.connect() as plant:
            letter = await plant.dead_letter(id)
        if raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(letter.payload)
            sys.stdout.buffer.flush()
        elif json:
            print_json({**letter.as_dict(), "payload": base64.b64encode(letter.payload).decode()})
        else:
            _print(letter)
        return OK

    return run(work())


def _print(letter: DeadLetter) -> None:
    for name, text in letter.as_dict().items():
        if text is not None and name != "preview":
            print_text(f"{name + ':':<14}{shown(text)}")
    print_text("")
    for at in range(0, min(len(letter.payload), SHOWN_BYTES_MAX), HEX_BYTES):
        part = letter.payload[at : at + HEX_BYTES]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
        print_text(f"{at:08x}  {part.hex(' '):<{3 * HEX_BYTES}} {text}")
    if len(letter.payload) > SHOWN_BYTES_MAX:
        note(f"{len(letter.payload) - SHOWN_BYTES_MAX} more bytes: use --raw")


def replay(
    *ids: str,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    path: str | None = None,
    file: Path | None = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
    target: Target = DEFAULT,
) -> int:
    """Send dead letters again to where they should have gone.

    A letter whose bytes still make no sense is refused and stays, until it is replayed with a file that has them put
    right. Each is stored once, also when this is interrupted.

    Examples:

        millstream deadletter replay E_edge1_DLQ:7 --file letter.json
        millstream deadletter replay E_edge1_DLQ:7 --path acme/plant1/press:temperature
        millstream deadletter replay --all --json

    Parameters
    ----------
    ids
        As `millstream deadletter list` shows them.
    all_
        All that there are.
    path
        Store them at this tag instead.
    file
        Store what this file holds instead: one JSON sample or an Arrow block. For one letter.
    keep
        Leave the letters where they are.
    json
        Print one object a letter.
    """

    payload = None if file is None else _repaired(file, ids, is_all=all_)

    async def work() -> int:
        """Each by itself: one that is refused does not stop the others."""
        refused = 0
        async with target.connect() as plant:
            for letter in await _chosen(plant, ids, is_all=all_):
                try:
                    stored = await plant.replay(letter, path=path, payload=payload, keep=keep)
                except PlantError as error:
                    refused += 1
                    if json:
                        print_json({"id": letter.id, "stored": None, "error": error.as_dict()})
                    else:
                        note(f"refused {letter.id}: {error}")
                    continue
                if json:
                    print_json({"id": letter.id, "stored": {"stream": stored.stream, "seq": stored.last_seq}})
                else:
                    note(f"replayed {letter.id} to {path or letter.path}")
        return FAILED if refused else OK

    return run(work())


def drop(
    *ids: str, why: Annotated[str, Parameter(name=["--why", "-m"])], who: str | None = None, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Let dead letters go for good, told to the audit.

    Size and SHA-256 of the bytes stand there, with who and why.

    Examples:

        millstream deadletter drop E_edge1_DLQ:7 -m "noise on the line"
        millstream deadletter drop E_edge1_DLQ:7 --why "a test" --who "Ada, shift 2" --json

    Parameters
    ----------
    ids
        As `millstream deadletter list` shows them.
    why
        The reason, for the audit.
    who
        Name for the audit; left out: user and host.
    json
        Print one object a letter.
    """

    async def work() -> int:
        """In order, up to the first that is not there."""
        from millstream.client import me

        async with target.connect() as plant:
            for id in dict.fromkeys(ids):
                letter = await plant.letters.drop(id, who=who or me(), why=why)
                if json:
                    print_json({"id": id, "dropped": True, "bytes": len(letter.payload)})
                else:
                    note(f"dropped {id}")
        return OK

    return run(work())


def _repaired(file: Path, ids: tuple[str, ...], *, is_all: bool) -> bytes:
    if is_all or len(set(ids)) != 1:
        raise PlantError("a file is for one letter", expected="one id beside --file", code="MS-0582")
    try:
        return file.read_bytes()
    except OSError as error:
        raise PlantError(f"cannot read the file: {error.strerror or error}", where=str(file), code="MS-0385") from error


async def _chosen(plant: Plant, ids: tuple[str, ...], *, is_all: bool) -> list[DeadLetter]:
    if is_all == bool(ids):
        raise PlantError("it is not clear which letters", expected="ids, or --all", code="MS-0582")
    if is_all:
        return (await plant.dead_letters(limit=REPLAY_ALL_MAX))[0]
    return [await plant.dead_letter(letter_id) for letter_id in dict.fromkeys(ids)]

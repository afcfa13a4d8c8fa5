"""``code push | list | show | remove | release``: modules of flows and releases, kept at the hub by their digest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Sign, Target, run, signer_of
from millstream.cli._output import OK, note, print_json, print_table, print_text
from millstream.kernel import ConfigError
from millstream.protocols.cloudevents import format_time
from millstream.protocols.module import RELEASE, module_digest

if TYPE_CHECKING:
    from millstream.protocols.module import Manifest

Force = Annotated[bool, Parameter(negative="")]
MISSING_EXTRA = "MS-0106"


def push(file: Path, /, *, sign: Sign = None, json: Json = False, target: Target = DEFAULT) -> int:
    """Store a module at the hub, for configurations that name it.

    They name it by the digest that is printed. It is looked at first: whether a flow can be made of it. An edge that
    joined under an operator takes only what an engineer or commander of its tenant has signed.

    Examples:

        millstream code push flows/cycle.wasm
        millstream code push flows/cycle.wasm --sign ann.creds --json

    Parameters
    ----------
    file
        The module, *.wasm, a Python wheel, *.whl, a trained model, *.onnx, or a release of Millstream, *.release.
    sign
        Credentials of the author, from `millstream user add`.
    json
        Print one object.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError("the module cannot be read", where=str(file), got=error.strerror) from error
    _look(file, data)
    signer = signer_of(sign)

    async def work() -> Manifest:
        """Chunk by chunk."""
        from millstream.client import me

        async with target.connect() as plant:
            plant.configs.signer = signer
            return await plant.configs.code.push(data, file.name, author=me())

    stored = run(work())
    if json:
        print_json(stored.as_dict())
    else:
        print_text(stored.digest)
    return OK


def _look(file: Path, data: bytes) -> None:
    """Raise ConfigError for what no edge could run."""
    from millstream.client import kind_of
    from millstream.flow import Scorer, Wheel, wasm_flow

    kind = kind_of(file.name, len(data))
    if kind == "wheel":
        Wheel(file, file.name).close()
        return
    if kind == RELEASE:
        from millstream.release import Package

        package = Package(file)
        package.close()
        note(f"{file.name}: millstream {package.version}, {len(package.wheels)} wheels")
        return
    try:
        if kind == "onnx":
            card = Scorer(data, file.stem).card
            note(f"{file.name}: {card.name} {card.version}, takes {', '.join(each.name for each in card.inputs)}")
            return
        flow = wasm_flow(data, file.stem)
    except ConfigError as error:
        if error.code != MISSING_EXTRA:
            raise
        note(f"not looked at: {error.what}")
        return
    note(f"{file.name}: {flow.description or 'a flow'}, says {', '.join(flow.outputs)}")


def release(*wheels: Path, to: Path, json: Json = False) -> int:
    """Make a release of Millstream out of wheels, for `code push`.

    Its own wheel, and those of packages that the boxes lack or that have to be newer there. The same wheels give the
    same digest.

    Examples:

        millstream code release dist/millstream-1.1.0-py3-none-any.whl --to millstream-1.1.0.release
        millstream code release wheels/*.whl --to millstream-1.1.0.release --json

    Parameters
    ----------
    wheels
        Of which one is Millstream's.
    to
        The file, *.release.
    json
        Print one object.
    """
    from millstream.client import kind_of
    from millstream.release import SUFFIX, Package, pack

    if to.suffix != SUFFIX:
        raise ConfigError("not a name of a release", got=str(to), expected=f"a file *{SUFFIX}", code="MS-2450")
    try:
        pack(wheels, to)
        size_bytes = to.stat().st_size
        digest = module_digest(to.read_bytes())
    except OSError as error:
        raise ConfigError("the release cannot be made", where=str(error.filename), got=error.strerror) from error
    kind_of(to.name, size_bytes)
    package = Package(to)
    package.close()
    if json:
        print_json({"digest": digest, "version": package.version, "file": str(to), "size_bytes": size_bytes})
    else:
        print_text(digest)
    return OK


def list_(*, json: Json = False, target: Target = DEFAULT) -> int:
    """List the modules that the hub has.

    The newest comes last.

    Examples:

        millstream code list
        millstream code list --json | jq -r .digest

    Parameters
    ----------
    json
        Print one object a module.
    """

    async def work() -> list[Manifest]:
        """Ask the hub."""
        async with target.connect() as plant:
            return await plant.configs.code.modules()

    found = run(work())
    if json:
        for each in found:
            print_json(each.as_dict())
    else:
        print_table(("digest", "file", "kind", "bytes", "author", "time", "signed"), [_row(each) for each in found])
    return OK


def _row(manifest: Manifest) -> tuple[str, ...]:
    return (
        manifest.digest[:23], manifest.file, manifest.kind, str(manifest.size_bytes), manifest.author,
        format_time(manifest.time_ns)[:19], "yes" if manifest.signature is not None else "no",
    )  # fmt: skip


def show(digest: str, /, *, json: Json = False, target: Target = DEFAULT) -> int:
    """Show what is said of one module, and which sites name it.

    Examples:

        millstream code show sha256:4f0a
        millstream code show 4f0a --json

    Parameters
    ----------
    digest
        Of the module; its beginning is enough.
    json
        Print one object.
    """

    async def work() -> dict[str, Any]:
        """Ask the hub."""
        async with target.connect() as plant:
            code = plant.configs.code
            found = await code.get(digest)
            more = {"authors": await code.authors(found.digest), "sites": await code.users(found.digest)}
            return {**found.as_dict(), **more}

    shown = run(work())
    if json:
        print_json(shown)
    else:
        shown["time"] = format_time(shown.pop("time_ns"))
        shown |= {name: ", ".join(shown[name]) or "none" for name in ("authors", "sites")}
        for name, value in shown.items():
            print_text(f"{name}: {value}")
    return OK


def remove(
    digest: str, /, *, force: Force = False, sign: Sign = None, json: Json = False, target: Target = DEFAULT
) -> int:
    """Take a module away from the hub.

    Edges that have it keep it as long as they need it. A hub with tenants takes the word of its authors only, signed.

    Examples:

        millstream code remove sha256:4f0a --sign ann.creds
        millstream code remove 4f0a --force --json

    Parameters
    ----------
    digest
        Of the module; its beginning is enough.
    force
        Also one that the newest configuration of a site names.
    sign
        Credentials of who removes it, from `millstream user add`.
    json
        Print one object.
    """
    signer = signer_of(sign)

    async def work() -> Manifest:
        """Look who names it first."""
        async with target.connect() as plant:
            plant.configs.signer = signer
            return await plant.configs.code.remove(digest, even_if_used=force)

    gone = run(work())
    if json:
        print_json(gone.as_dict())
    else:
        print_text(f"removed {gone.digest}")
    return OK

"""``profiles``: ready tags for known types of devices."""

from __future__ import annotations

from millstream.cli._options import Json
from millstream.cli._output import OK, note, print_json, print_table, report_error
from millstream.config import DeviceProfile, InstalledConnectors, profiles_of
from millstream.kernel import ConfigError, NotFoundError, suggest


def profiles(type: str | None = None, /, *, json: Json = False) -> int:
    """List device profiles: ready tags for known types of devices.

    An edge file uses one with `profile: NAME` beside `type`; tags that it lists itself with the same name change those
    of the profile, others are added.

    Examples:

        millstream profiles
        millstream profiles modbus
        millstream profiles --json | jq -r 'select(.type == "modbus") | .tags[].name'

    Parameters
    ----------
    type
        Only those of this connector.
    json
        Print one object a profile, with its tags.
    """
    installed = InstalledConnectors()
    if type is not None and type not in installed:
        near = suggest(type, installed)
        hint = f"did you mean {near!r}?" if near else f"installed: {', '.join(installed)}"
        return report_error(NotFoundError("no such connector", got=repr(type), next_step=hint), is_json=json)
    found: list[tuple[str, str, DeviceProfile]] = []
    for kind in installed if type is None else (type,):
        try:
            found += [(kind, name, profile) for name, profile in profiles_of(installed[kind]).items()]
        except ConfigError as error:
            note(str(error))
    for kind, name, profile in found if json else ():
        print_json({"type": kind, "name": name, **profile.model_dump()})
    if not json:
        rows = [(kind, name, str(len(profile.tags)), profile.device) for kind, name, profile in found]
        print_table(("type", "profile", "tags", "device"), rows)
    return OK

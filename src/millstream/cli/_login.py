"""``login add|list|password|second-factor|role|remove``: the people who log in at a hub with tenants.

They are kept by the hub, so these run on its machine, as its user, while it runs.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._keys import who
from millstream.cli._options import NODE_GROUP, Json, run
from millstream.cli._output import OK, print_json, print_text
from millstream.kernel import ConfigError

if TYPE_CHECKING:
    from millstream.client import LoginUsers
    from millstream.login import LoginUser

PASSWORD_VARIABLE = "MILLSTREAM_LOGIN_PASSWORD"  # noqa: S105 (the name of a variable)
Node = Annotated[str | None, Parameter(env_var="MILLSTREAM_NODE", group=NODE_GROUP)]
PasswordFile = Annotated[Path | None, Parameter(name="--password-file")]
Paths = Annotated[list[str] | None, Parameter(name="--path", negative="")]


def add(
    name: str, /, *, tenant: str, role: str, paths: Paths = None, second_factor: bool = False,
    password_file: PasswordFile = None, node: Node = None, json: Json = False,
) -> int:  # fmt: skip
    """Add a person who logs in with a password.

    The password is asked for, or read from a file or from MILLSTREAM_LOGIN_PASSWORD; there is no default.

    Examples:

        millstream login add ann --tenant acme --role viewer --path acme/plant1
        millstream login add ben --tenant acme --role commander --second-factor --node /var/lib/millstream/hub
        millstream login add pat --tenant provider --role viewer

    Parameters
    ----------
    name
        What the person types.
    tenant
        Whose; `provider` is who runs the hub: all tenants and how they are, nothing of their data.
    role
        viewer, engineer or commander.
    paths
        What the person sees, and all below it; may stand several times. Left out: the whole tenant.
    second_factor
        Ask for a code of a telephone, too; its address is printed.
    password_file
        A file with the password.
    node
        Data directory of the hub, or its node.json.
    json
        Print an object.
    """
    given = _password(password_file)

    async def work(users: LoginUsers) -> LoginUser:
        """Add, then the second factor."""
        user = await users.add(tenant, name, given, role=role, paths=paths or [])
        return await users.set_second_factor(tenant, name, is_wanted=True) if second_factor else user

    return _changed(node, work, is_json=json)


def list_(*, tenant: str | None = None, node: Node = None, json: Json = False) -> int:
    """List the people who log in with a password.

    Examples:

        millstream login list
        millstream login list --tenant acme --json

    Parameters
    ----------
    tenant
        Of this tenant only.
    node
        Data directory of the hub, or its node.json.
    json
        Print an object.
    """
    from millstream.client import login_users

    async def work() -> list[LoginUser]:
        """Read."""
        async with login_users(node, who()) as users:
            return users.of(tenant)

    found = run(work())
    if json:
        print_json({"users": [_shown(user) for user in found]})
        return OK
    for user in found:
        factor = "  second factor" if user.totp else ""
        print_text(f"{user.tenant}  {user.name}  {user.role}  {' '.join(user.paths) or 'everything'}{factor}")
    return OK


def password(
    name: str, /, *, tenant: str, password_file: PasswordFile = None, node: Node = None, json: Json = False
) -> int:
    """Give a person a new password; its sessions end.

    Examples:

        millstream login password ann --tenant acme
        millstream login password ann --tenant acme --password-file new.txt

    Parameters
    ----------
    name
        Of the person.
    tenant
        Whose.
    password_file
        A file with the password.
    node
        Data directory of the hub, or its node.json.
    json
        Print an object.
    """
    given = _password(password_file)
    return _changed(node, lambda users: users.set_password(tenant, name, given), is_json=json)


def second_factor(name: str, /, *, tenant: str, off: bool = False, node: Node = None, json: Json = False) -> int:
    """Ask a person for a code of a telephone, too; its sessions end.

    Prints the address that the telephone reads.

    Examples:

        millstream login second-factor ann --tenant acme
        millstream login second-factor ann --tenant acme --off

    Parameters
    ----------
    name
        Of the person.
    tenant
        Whose.
    off
        Ask no longer.
    node
        Data directory of the hub, or its node.json.
    json
        Print an object.
    """
    return _changed(node, lambda users: users.set_second_factor(tenant, name, is_wanted=not off), is_json=json)


def role(
    name: str, role: str, /, *, tenant: str, paths: Paths = None, node: Node = None, json: Json = False
) -> int:  # fmt: skip
    """Give a person another role, or other paths; its sessions end.

    Examples:

        millstream login role ann engineer --tenant acme
        millstream login role ann viewer --tenant acme --path acme/plant1 --json

    Parameters
    ----------
    name
        Of the person.
    role
        viewer, engineer or commander.
    tenant
        Whose.
    paths
        What the person sees from now on, and all below it; may stand several times. Left out: the whole tenant.
    node
        Data directory of the hub, or its node.json.
    json
        Print an object.
    """
    return _changed(node, lambda users: users.set_role(tenant, name, role, paths or []), is_json=json)


def remove(name: str, /, *, tenant: str, node: Node = None, json: Json = False) -> int:
    """Remove a person; its sessions and connections end at once.

    Examples:

        millstream login remove ann --tenant acme
        millstream login remove ann --tenant acme --json

    Parameters
    ----------
    name
        Of the person.
    tenant
        Whose.
    node
        Data directory of the hub, or its node.json.
    json
        Print an object.
    """
    return _changed(node, lambda users: users.remove(tenant, name), is_json=json)


def _changed(node: str | None, change: Callable[[LoginUsers], Awaitable[LoginUser]], *, is_json: bool) -> int:
    from millstream.client import login_users
    from millstream.login import provisioning_uri

    async def work() -> LoginUser:
        """One change."""
        async with login_users(node, who()) as users:
            return await change(users)

    user = run(work())
    shown = _shown(user)
    if user.totp is not None:
        shown["second_factor_address"] = provisioning_uri(user.totp, user.name, f"Millstream {user.tenant}")
    if is_json:
        print_json(shown)
        return OK
    what = "removed" if user.is_removed else f"{user.role} of {' '.join(user.paths) or 'everything'}"
    print_text(f"{user.tenant}/{user.name}: {what}")
    if user.totp is not None:
        print_text(str(shown["second_factor_address"]))
    return OK


def _shown(user: LoginUser) -> dict[str, Any]:
    return {
        "tenant": user.tenant, "user": user.name, "role": user.role, "paths": user.paths,
        "second_factor": user.totp is not None, "removed": user.is_removed,
    }  # fmt: skip


def _password(file: Path | None) -> str:
    """From file, environment or terminal, in this order. Raises ConfigError."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise ConfigError("the password cannot be read", where=str(file), got=str(error), code="MS-2120") from error
    if (given := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise ConfigError(
            "no password", expected=f"--password-file, {PASSWORD_VARIABLE}, or a terminal", code="MS-2120"
        )
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise ConfigError("the two passwords differ", code="MS-2120")
    return first

"""What is kept of people who log in, and of their sessions. Data only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from millstream.kernel import ConfigError, DecodeError
from millstream.model import AssetPath

LoginRole = Literal["viewer", "engineer", "commander"]
LOGIN_ROLES: tuple[LoginRole, ...] = get_args(LoginRole)
PASSWORD = "password"  # noqa: S105 (a way to log in)
PROVIDER = "provider"
"""In the place of a tenant, whose name it cannot be: who runs the hub. Its people see how all tenants are, by what
these export, and nothing of their data."""
PATHS_COUNT_MAX = 8  # of one person: they all stand in its token, and a server reads 4 KiB of one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has shown who it is; no `paths`: the whole tenant."""

    tenant: str
    name: str
    role: LoginRole
    paths: tuple[str, ...] = ()
    via: str = PASSWORD
    epoch: int = 0


class LoginUser(msgspec.Struct, frozen=True, kw_only=True):
    """A local user of a tenant. `password` is an Argon2id hash in its own text form; `totp` a base32 secret,
    `totp_step` the last step of time whose code was used. A record of another `epoch` ends the sessions of the one
    before: it changes with password, role, paths and removal."""

    tenant: str
    name: str
    role: LoginRole
    paths: list[str] = []
    password: str
    totp: str | None = None
    totp_step: int = 0
    epoch: int = 1
    changed_s: int
    changed_by: str = ""
    changed_from: str = ""
    is_removed: bool = False

    def __repr__(self) -> str:
        return f"LoginUser({self.tenant}/{self.name}, {self.role}, {self.paths})"


def shown_user(user: LoginUser) -> dict[str, object] | None:
    """Rights of a user as the audit may have them; None of one that is removed."""
    if user.is_removed:
        return None
    return {"role": user.role, "paths": user.paths, "second_factor": user.totp is not None}


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One log-in. `id` is the digest of the token that its browser holds; `via` is "password" or
    "oidc:" and the name of a provider; no `paths`: the whole tenant. Times are Unix seconds."""

    id: str
    tenant: str
    name: str
    role: LoginRole
    paths: list[str] = []
    via: str = "password"
    epoch: int = 0
    created_s: int
    expires_s: int
    ended_s: int | None = None


def check_user_name(name: str) -> str:
    """Raises ConfigError."""
    if not _NAME.match(name):
        raise ConfigError(
            "not a name of a user", expected="1 to 64 of letters, digits and _.@+-, a letter or digit first",
            got=repr(name[:80]), code="MS-2120",
        )  # fmt: skip
    return name


def check_role(role: str) -> LoginRole:
    """Raises ConfigError."""
    for known in LOGIN_ROLES:
        if known == role:
            return known
    raise ConfigError("not a role of people", expected=", ".join(LOGIN_ROLES), got=role[:80], code="MS-2120")


def check_provider(role: str, paths: list[str]) -> None:
    """The rights of somebody of the provider: there is one kind of them. Raises ConfigError."""
    if role != LOGIN_ROLES[0] or paths:
        raise ConfigError(
            "the people of the provider look only, at all tenants", where=PROVIDER, code="MS-2120",
            expected=f"role {LOGIN_ROLES[0]}, no paths", got=" ".join([role, *paths])[:200],
            next_step="tenants, sites and credentials are the operator's, with `millstream tenant`, `site` and `user`",
        )  # fmt: skip


def check_paths(paths: list[str], place: str) -> list[str]:
    """Paths below a tenant's place, in their one form; empty when one of them is the whole place. ``acme/plant1/**``
    means ``acme/plant1``. Raises ConfigError."""
    if len(paths) > PATHS_COUNT_MAX:
        raise ConfigError("too many paths", expected=f"at most {PATHS_COUNT_MAX}", got=str(len(paths)), code="MS-2120")
    root, found = AssetPath.parse(place), []
    for text in paths:
        try:
            path = AssetPath.parse(text.removesuffix("/**"))
        except DecodeError as error:
            raise ConfigError("not a path", got=text[:200], code="MS-2120") from error
        if not root.contains(path):
            raise ConfigError(
                "the path is not the tenant's", expected=f"{root}, or below it", got=str(path), code="MS-2120"
            )
        found.append(path)
    return [] if root in found else sorted({str(path) for path in found})

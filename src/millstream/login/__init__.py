"""People who log in at a hub in operator mode: users, sessions, short-lived NATS credentials, and their end."""

from millstream.login._attempts import Attempts, Verdict
from millstream.login._book import LoginBook
from millstream.login._desk import (
    LoginAround,
    LoginDesk,
    LoginOptions,
    NatsLogin,
    TooManyAttempts,
    sites_below,
)
from millstream.login._id_token import ClaimRule, Expected, choose_rule, read_id_token
from millstream.login._oidc import OidcDesk, OidcProvider
from millstream.login._passwords import PASSWORD_LENGTH_MIN, Passwords, hash_password
from millstream.login._records import (
    LOGIN_ROLES,
    PASSWORD,
    PROVIDER,
    Identity,
    LoginRole,
    LoginUser,
    Session,
    check_paths,
    check_provider,
    check_role,
    check_user_name,
)
from millstream.login._totp import new_secret, provisioning_uri, used_step

__all__ = [
    "LOGIN_ROLES",
    "PASSWORD",
    "PASSWORD_LENGTH_MIN",
    "PROVIDER",
    "Attempts",
    "ClaimRule",
    "Expected",
    "Identity",
    "LoginAround",
    "LoginBook",
    "LoginDesk",
    "LoginOptions",
    "LoginRole",
    "LoginUser",
    "NatsLogin",
    "OidcDesk",
    "OidcProvider",
    "Passwords",
    "Session",
    "TooManyAttempts",
    "Verdict",
    "check_paths",
    "check_provider",
    "check_role",
    "check_user_name",
    "choose_rule",
    "hash_password",
    "new_secret",
    "provisioning_uri",
    "read_id_token",
    "sites_below",
    "used_step",
]

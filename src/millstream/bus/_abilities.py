"""What a server that is given by URL must offer; a supervised one is started with all of it."""

from __future__ import annotations

import re

from millstream.bus._connection import RawConnection
from millstream.bus._jetstream import StreamApi
from millstream.kernel import ConfigError, PlantError

VERSION_MIN = (2, 14)  # fast ingest; atomic batches came with 2.12


async def check_abilities(connection: RawConnection, *, domain: str) -> None:
    """Raise ConfigError (MS-0620) for a server that is too old, has no JetStream for this user, or another domain."""
    version = str(connection.info.get("version", ""))
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < VERSION_MIN:
        raise _lacks(connection, "too old", ".".join(map(str, VERSION_MIN)) + " or newer", version or "no version")
    if not connection.info.get("jetstream"):
        raise _lacks(connection, "without JetStream", "a `jetstream` section in its configuration", "none")
    try:
        account = await StreamApi(connection).request("INFO")
    except PlantError as error:
        raise _lacks(
            connection, "without JetStream for this user", "`jetstream: enabled` in the account", str(error)
        ) from error
    found = str(account.get("domain", ""))
    if found != domain:
        raise _lacks(connection, "of another JetStream domain", f"`domain: {domain}`", found or "none")


def _lacks(connection: RawConnection, what: str, expected: str, got: str) -> ConfigError:
    return ConfigError(
        f"the given server is {what}", where=connection.where, expected=expected, got=got,
        next_step="change that server, or leave out `server.url`: then the node starts its own", code="MS-0620",
    )  # fmt: skip

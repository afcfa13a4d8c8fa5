"""``fleet sites``: how the sites of all tenants are, for who runs their hub."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

from cyclopts import Parameter

from millstream.cli._options import DEFAULT, Json, Target, run
from millstream.cli._output import CHECK_FAILED, OK, note, print_json, print_table
from millstream.kernel import ConfigError
from millstream.protocols.cloudevents import format_time


def sites(
    *, tenants: Annotated[list[str] | None, Parameter(name="--of", negative="")] = None, json: Json = False,
    target: Target = DEFAULT,
) -> int:  # fmt: skip
    """Show how the sites of all tenants are, as their provider.

    Each site is asked by way of what its tenant exports to the provider: whether it is up, its version, its link,
    its alarms; no values. Exit status 6 when a site or a tenant's plant does not answer.

    Examples:

        millstream fleet sites --node hub
        millstream fleet sites --node hub --of acme --json

    Parameters
    ----------
    tenants
        Sites of these only; may be repeated.
    json
        Print one object a site.
    """

    async def work() -> int:
        """Ask, then one line a site."""
        from millstream.client import PROVIDER

        async with replace(target, tenant=target.tenant or PROVIDER).connect() as plant:
            if not plant.fleet.provider.is_asked:
                raise ConfigError(
                    "only the provider of a hub sees the sites of tenants", where=plant.node.nats_url,
                    next_step="name the data directory of a hub with tenants with --node, and no tenant",
                )  # fmt: skip
            _, hub = await plant.fleet.whom()
            found = await plant.fleet.provider.sites(hub, tenants=tenants)
        if json:
            for site in found:
                print_json(asdict(site))
        else:
            rows = [
                (
                    s.tenant, s.name, s.place, s.state, s.uplink, s.behind_messages, s.version, " ".join(s.alarms),
                    None if s.reached_ns is None else format_time(s.reached_ns)[:19],
                )
                for s in found
            ]  # fmt: skip
            heads = ("tenant", "site", "place", "state", "uplink", "behind", "version", "alarms", "last heard")
            print_table(heads, rows, right=("behind",))
        missing = sum(site.state != "up" for site in found)
        note(f"{len(found) - missing} of {len(found)} sites answered")
        return CHECK_FAILED if missing else OK

    return run(work())

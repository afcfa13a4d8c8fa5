"""``operator``, ``tenant``, ``site``, ``user``: who may do what.

They change the key store and the hub's file, and need no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli._keys import NO_KEYS, Keys, check_absent, now_s, who
from millstream.cli._options import Json
from millstream.cli._output import OK, note, print_json, print_text
from millstream.kernel import ConfigError

if TYPE_CHECKING:
    from millstream.trust import Role, Tenant

Out = Annotated[Path | None, Parameter(name=["--out", "-o"])]
Labels = Annotated[list[str] | None, Parameter(name="--label", negative="")]
HubUrls = Annotated[list[str], Parameter(name="--hub-url", negative="")]
Paths = Annotated[list[str] | None, Parameter(name="--path", negative="")]


def init(
    name: str, /, *, hub_urls: HubUrls, ca_file: Path | None = None, keys: Keys = NO_KEYS, json: Json = False
) -> int:
    """Make an operator: a new key store, encrypted, and the file for the hub.

    Examples:

        millstream operator init acme-it --hub-url nats://hub.example:7422
        millstream operator init acme-it --hub-url tls://hub.example:7422 --ca-file tls/ca.pem --trust /etc/trust
        millstream operator init acme-it --hub-url nats://a:7422 --hub-url nats://b:7422 --hub-url nats://c:7422

    Parameters
    ----------
    name
        Of the operator.
    hub_urls
        Where edges reach the hub: its leaf port. Of a hub of several boxes each one's: repeat it.
    ca_file
        Authorities in PEM by which edges know the hub; each join file carries them.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.trust import make_trust, save_keys

    check_absent(keys.path, "a key store")
    trust = make_trust(name, hub_urls[0], now_s(), read_authorities(ca_file) if ca_file is not None else None)
    trust.more_urls = hub_urls[1:]
    save_keys(keys.path, trust, keys.passphrase(is_new=True))
    keys.write_hub_file(trust)
    return told(
        {"operator": name, "public": trust.operator_public, "keys": str(keys.path), "hub_file": str(keys.hub_path)},
        f"operator {name}: keys in {keys.path} (keep a copy elsewhere), for the hub {keys.hub_path}",
        is_json=json,
    )


def change_hub(
    *, hub_urls: HubUrls | None = None, ca_file: Path | None = None, keys: Keys = NO_KEYS, json: Json = False
) -> int:
    """Say anew where edges reach the hub, and by which authorities they know it.

    Join files that are made from now on carry it; edges that have joined keep what they have.

    Examples:

        millstream operator hub --ca-file tls/ca.pem
        millstream operator hub --hub-url tls://hub.example:7422 --json

    Parameters
    ----------
    hub_urls
        Its leaf port, of a hub of several boxes each one's; left out: as it is.
    ca_file
        Authorities in PEM; left out: as they are.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.trust import note_change, shown_hub

    certificate = read_authorities(ca_file) if ca_file is not None else None
    with keys.changing() as trust:
        before = shown_hub(trust)
        if hub_urls:
            trust.hub_url, trust.more_urls = hub_urls[0], hub_urls[1:]
        trust.certificate = certificate or trust.certificate
        after = shown_hub(trust)
        note_change(trust, who(), "hub_changed", "", trust.name, {}, now_s(), before=before, after=after)
    data = {"hub_url": trust.hub_url, "more_urls": trust.more_urls, "has_authorities": trust.certificate is not None}
    return told(data, f"the hub is {trust.hub_url}", is_json=json)


def read_authorities(path: Path) -> str:
    """The text of a PEM file with certificates. Raises ConfigError."""
    from millstream.tls import read_facts

    read_facts(path)
    return path.read_text(encoding="ascii")


def show(*, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Show operator, tenants, sites and users.

    Examples:

        millstream operator show
        millstream operator show --json | jq '.tenants'

    Parameters
    ----------
    keys
        Where.
    json
        Print an object.
    """
    trust = keys.load()
    tenants = {name: _tenant_shown(tenant) for name, tenant in trust.tenants.items()}
    if json:
        print_json({
            "operator": trust.name, "public": trust.operator_public, "serial": trust.serial, "hub_url": trust.hub_url,
            "has_identities": bool(trust.identities), "tenants": tenants,
        })  # fmt: skip
        return OK
    print_text(f"operator {trust.name}  serial {trust.serial}  hub {trust.hub_url}")
    for name, tenant in tenants.items():
        print_text(f"{name}  {tenant['place']}  {len(tenant['sites'])} sites  {len(tenant['users'])} users")
        for kind in ("sites", "users"):
            for item in tenant[kind]:
                print_text(f"  {item['name']}  {item['is']}")
    return OK


def export(out: Path, /, *, remove_identities: bool = False, keys: Keys = NO_KEYS, json: Json = False) -> int:
    """Copy the key store, for a safe.

    With --remove-identities the seeds of operator and accounts stay in the copy only. What is left signs for all
    daily work, also for `tenant rekey`. Copies that were made before a rekey hold the old keys: export again.

    Examples:

        millstream operator export /media/usb/operator.keys
        millstream operator export /media/usb/operator.keys --remove-identities

    Parameters
    ----------
    out
        The copy, encrypted with the same passphrase.
    remove_identities
        Take the identity seeds out of the key store once the copy is written and read back.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.trust import load_keys, note_change, save_keys, shown_hub

    check_absent(out, "a file")
    passphrase = keys.passphrase()
    trust = keys.load()
    save_keys(out, trust, passphrase)
    if load_keys(out, passphrase) != trust:
        raise ConfigError("the copy does not read back", where=str(out), code="MS-2101")
    if remove_identities:
        with keys.changing() as kept:
            before, kept.identities = shown_hub(kept), {}
            note_change(
                kept, who(), "identities_removed", "", kept.name, {"copy": str(out)}, now_s(), before=before,
                after=shown_hub(kept),
            )  # fmt: skip
    return told({"copy": str(out), "identities_removed": remove_identities}, f"copied to {out}", is_json=json)


def add_tenant(
    name: str, /, *, place: str | None = None, sites: int = 500, connections: int = 1000, disk: str = "50GB",
    subscriptions: int = 100_000, keys: Keys = NO_KEYS, json: Json = False,
) -> int:  # fmt: skip
    """Add a customer: accounts of its own, below a place of its own.

    Examples:

        millstream tenant add acme
        millstream tenant add acme --place acme --sites 20 --disk 200GB

    Parameters
    ----------
    name
        Of the tenant.
    place
        The root of its paths; left out: its name.
    sites
        How many edges may be connected.
    connections
        How many clients may be connected, sites and the hub's own among them.
    disk
        What its streams may take at the hub.
    subscriptions
        How many each of its connections may have.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.config import parse_size
    from millstream.trust import Limits, add_tenant, check_limits, note_change, shown_tenant

    limits = check_limits(
        Limits(sites=sites, connections=connections, disk_bytes=parse_size(disk), subscriptions=subscriptions)
    )
    with keys.changing() as trust:
        tenant = add_tenant(trust, name, place, limits, now_s())
        note_change(trust, who(), "tenant_added", "", name, {}, now_s(), after=shown_tenant(tenant))
    return told({"tenant": name, "place": tenant.place}, f"tenant {name} at {tenant.place}", is_json=json)


def add_site(
    name: str, /, *, tenant: str, place: str | None = None, label: Labels = None, expires: str = "24h", out: Out = None,
    keys: Keys = NO_KEYS, json: Json = False,
) -> int:  # fmt: skip
    """Add a site, and write the join file that makes one box its edge, once.

    For a site that is there: a new join file, for a box that replaces the old one.

    Examples:

        millstream site add cologne --tenant acme
        millstream site add cologne --tenant acme --label region=west -o cologne.join --expires 7d

    Parameters
    ----------
    name
        Of the site, and of its edge.
    tenant
        Whose.
    place
        Its path; left out: the tenant's place and the site's name.
    label
        key=value, for selections.
    expires
        How long the join file opens the door.
    out
        The join file; left out: NAME.join.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.bus import write_private
    from millstream.trust import FORMAT, JoinFile, add_site, encode_join_file, find_tenant, note_change, shown_site

    path = (out or Path(f"{name}.join")).absolute()
    check_absent(path, "a join file")
    expires_s = now_s() + _seconds(expires)
    with keys.changing() as trust:
        found = find_tenant(trust, tenant)
        before = shown_site(found.sites.get(name))
        site, creds = add_site(found, name, place, _labels(label), expires_s, now_s())
        data = {"expires_s": expires_s}
        note_change(trust, who(), "site_added", tenant, name, data, now_s(), before=before, after=shown_site(site))
        file = JoinFile(
            format=FORMAT, tenant=tenant, site=name, place=site.place, hub_url=trust.hub_url,
            operator_public=trust.operator_public, plant_public=found.plant_public, creds=creds, expires_s=expires_s,
            certificate=trust.certificate, people_public=found.people_public, labels=site.labels,
            more_urls=trust.more_urls,
        )  # fmt: skip
        write_private(path, encode_join_file(file) + "\n")
    note(f"on the box: millstream edge join {path.name}")
    return told({"site": name, "tenant": tenant, "place": site.place, "join_file": str(path)}, str(path), is_json=json)


def add_user(
    name: str, /, *, tenant: str, role: str, paths: Paths = None, expires: str | None = None, out: Out = None,
    keys: Keys = NO_KEYS, json: Json = False,
) -> int:  # fmt: skip
    """Make credentials for a person or a program.

    Examples:

        millstream user add ann --tenant acme --role viewer --expires 12h
        millstream user add bea --tenant acme --role engineer --path acme/cologne
        millstream user add kafka --tenant acme --role bridge -o kafka.creds
        millstream user add press --tenant acme --role device

    Parameters
    ----------
    name
        Of the user.
    tenant
        Whose.
    role
        viewer, engineer, commander, flow, bridge or device (MQTT; what is written is its password).
    paths
        What a person sees, and all below; may be repeated. Left out: the whole tenant.
    expires
        How long they are good; left out: until revoked.
    out
        The creds file; left out: NAME.creds, of a device NAME.token.
    keys
        Where.
    json
        Print an object.
    """
    from millstream.bus import write_private
    from millstream.trust import add_user, find_tenant, note_change, shown_user

    path = (out or Path(f"{name}.{'token' if role == 'device' else 'creds'}")).absolute()
    check_absent(path, "a creds file")
    expires_s = None if expires is None else now_s() + _seconds(expires)
    with keys.changing() as trust:
        found = find_tenant(trust, tenant)
        before = shown_user(found.users.get(name))
        user, creds = add_user(found, name, _role(role), expires_s, now_s(), paths=paths or ())
        note_change(trust, who(), "user_added", tenant, name, {}, now_s(), before=before, after=shown_user(user))
        write_private(path, creds)
    return told({"user": name, "tenant": tenant, "role": role, "creds_file": str(path)}, str(path), is_json=json)


def told(data: dict[str, Any], text: str, *, is_json: bool) -> int:
    """Print what was done, for people or as an object."""
    if is_json:
        print_json(data)
    else:
        print_text(text)
    return OK


def _tenant_shown(tenant: Tenant) -> dict[str, Any]:
    return {
        "place": tenant.place,
        "sites": [
            {"name": site.name, "place": site.place, "labels": site.labels, "join_files": len(site.tokens),
             "is": "locked out" if site.revoked_s else "admitted"}
            for site in tenant.sites.values()
        ],
        "users": [
            {"name": user.name, "role": user.role, "paths": user.paths, "expires_s": user.expires_s,
             "is": "locked out" if user.revoked_s else " ".join([user.role, *user.paths])}
            for user in tenant.users.values()
        ],
    }  # fmt: skip


def _labels(texts: list[str] | None) -> dict[str, str]:
    labels = {}
    for text in texts or ():
        key, mark, value = text.partition("=")
        if not mark or not key:
            raise ConfigError("not a label", expected="key=value", got=text)
        labels[key] = value
    return labels


def _seconds(text: str) -> int:
    from millstream.kernel import parse_duration_s

    seconds = int(parse_duration_s(text))
    if seconds <= 0:
        raise ConfigError("not a lifetime", expected="such as 24h", got=text)
    return seconds


def _role(text: str) -> Role:
    from typing import get_args

    from millstream.trust import Role

    for role in get_args(Role):
        if role == text:
            found: Role = role
            return found
    raise ConfigError("not a role", expected=", ".join(get_args(Role)), got=text, code="MS-2103")

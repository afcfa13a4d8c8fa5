"""One act of the operator: the hub tells its server of the accounts that differ, and writes the log-ins that do."""

from __future__ import annotations

from pathlib import Path

from trust_site import Site, now_s, trusted_hub

from millstream.bus import write_private
from millstream.trust import make_bundle, revoke_user


def marks(site: Site) -> dict[str, int]:
    """When each account was given to the server and each log-in was written, in ns."""
    assert site.hub.tenants is not None
    resolver = site.operator.folder / "hub" / "server" / "accounts"
    files = [*resolver.rglob("*.jwt"), *site.hub.tenants.creds_dir.glob("*.creds")]
    return {path.stem: path.stat().st_mtime_ns for path in files}


async def test_an_act_on_one_tenant_touches_its_accounts_only(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta", "gamma") as site:
        site.operator.user("acme", "ann", "viewer")
        await site.taken()
        before = marks(site)
        tenant = site.operator.tenant("acme")
        assert {tenant.plant_public, tenant.people_public, "acme", "beta", "provider"} <= set(before)
        revoke_user(tenant, "ann", now_s())
        site.operator.trust.serial += 1
        file = site.operator.hub_file
        later_s = now_s() + 5  # what is signed anew differs from before, however fast this test is
        write_private(file, make_bundle(site.operator.trust, later_s, file.read_text(encoding="ascii")))
        await site.taken()
        after = marks(site)
        touched = {name for name in after if before.get(name) != after[name]}
        assert touched == {tenant.plant_public, tenant.people_public}

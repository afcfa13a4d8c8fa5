"""Names, paths, passwords and codes of people who log in."""

from __future__ import annotations

import asyncio

import pyotp
import pytest

from millstream.kernel import ConfigError, Unreachable
from millstream.login import (
    LoginUser,
    Passwords,
    check_paths,
    check_role,
    check_user_name,
    hash_password,
    new_secret,
    provisioning_uri,
    used_step,
)
from millstream.login._passwords import WAITING_MAX


def test_paths_are_below_the_tenants_place_and_the_whole_place_is_everything() -> None:
    assert check_paths(["acme/plant2/**", "acme/plant1", "acme/plant1/**"], "acme") == ["acme/plant1", "acme/plant2"]
    assert check_paths(["acme/plant1", "acme/**"], "acme") == []
    assert check_paths([], "acme") == []


@pytest.mark.parametrize("path", ["beta", "acmeX", "", "acme/../beta", "/acme", "acme//x", "**", "acme/\x00"])
def test_another_place_is_no_path(path: str) -> None:
    if path == "acme/../beta":  # a level of this name is a name like any other: below acme, and not beta
        assert check_paths([path], "acme") == [path]
        return
    with pytest.raises(ConfigError):
        check_paths([path], "acme")


def test_more_paths_than_a_token_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="too many paths"):
        check_paths([f"acme/p{number}" for number in range(9)], "acme")


@pytest.mark.parametrize("name", ["", " ann", "a/b", "a" * 65, "ann\n", "*", ".ann", "a b"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_user_name(name)


def test_addresses_of_mail_are_names_and_edges_are_no_role() -> None:
    assert check_user_name("ann.b+x@plant.example") == "ann.b+x@plant.example"
    assert check_role("viewer") == "viewer"
    with pytest.raises(ConfigError, match="viewer, engineer, commander"):
        check_role("edge")


@pytest.mark.parametrize("password", ["", "short", "x" * 257, "annannannann", "my name is Ann, hello"])
def test_bad_passwords_are_refused(password: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hash_password(password, "ann")
    assert not password or password not in str(caught.value)


async def test_a_password_is_checked_also_for_nobody_and_no_more_than_some_at_once() -> None:
    kept = hash_password("correct horse battery", "ann")
    assert kept.startswith("$argon2id$")
    user = LoginUser(tenant="acme", name="ann", role="viewer", password=kept, changed_s=0)
    assert "argon2" not in repr(user)
    async with Passwords() as passwords:
        assert await passwords.is_right(kept, "correct horse battery")
        assert not await passwords.is_right(kept, "correct horse batterx")
        assert not await passwords.is_right(None, "correct horse battery")
        assert not await passwords.is_right("no hash", "correct horse battery")
        waiting = [asyncio.ensure_future(passwords.is_right(kept, "x")) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)  # each has come so far as to wait for a thread
        with pytest.raises(Unreachable, match="too many"):
            await passwords.is_right(kept, "correct horse battery")
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def test_a_code_is_good_once_and_half_a_minute_either_way() -> None:
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    now = 1_700_000_010
    code = pyotp.TOTP(secret).at(now)
    step = used_step(secret, code, now, 0)
    assert step == now // 30
    assert used_step(secret, code, now, step) is None
    assert used_step(secret, code, now + 30, 0) == step
    assert used_step(secret, code, now + 90, 0) is None
    for wrong in ("", "000000", code + "0", "١٢٣٤٥٦"):
        assert used_step(secret, wrong, now, 0) is None
    assert "otpauth://totp/" in provisioning_uri(new_secret(), "ann", "Millstream acme")

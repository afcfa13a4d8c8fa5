"""Which version is newer, which wheel fits: the rules of Python packaging."""

from __future__ import annotations

import pytest

from millstream.release import Machine, satisfies, version_key

DEBIAN = Machine(11, "linux_x86_64", "x86_64", "glibc", (2, 36))
ALPINE = Machine(12, "linux_aarch64", "aarch64", "musl", (1, 2))


def test_versions_are_ordered_as_pep_440_has_it() -> None:
    ordered = [
        "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2", "1.0b2.post345",
        "1.0rc1.dev456", "1.0rc1", "1.0", "1.0.post456.dev34", "1.0.post456", "1.1.dev1", "1.10",
    ]  # fmt: skip
    assert sorted(ordered, key=version_key) == ordered  # the example of the document itself
    assert version_key("1.0") == version_key("1.0.0") == version_key("v1")
    with pytest.raises(ValueError, match="is no version"):
        version_key("latest")


@pytest.mark.parametrize(("version", "specifier", "is_fit"), [
    ("2.1", ">=2.0", True), ("1.9", ">=2.0", False), ("2.2", ">=2.1,<2.2", False), ("2.1.9", ">=2.1,<2.2", True),
    ("3.0", "!=3.0", False), ("1.4.9", "~=1.4.2", True), ("1.5", "~=1.4.2", False), ("1", "", True),
    ("1.2", "==1.*", True), ("odd", ">=1", True),
])  # fmt: skip
def test_a_version_fits_a_specifier(version: str, specifier: str, is_fit: bool) -> None:
    assert satisfies(version, specifier) is is_fit


@pytest.mark.parametrize(("tags", "debian", "alpine"), [
    ("py3-none-any", True, True), ("py2.py3-none-any", True, True), ("py2-none-any", False, False),
    ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", True, False),
    ("cp311-cp311-manylinux_2_39_x86_64", False, False), ("cp312-cp312-musllinux_1_2_aarch64", False, True),
    ("cp39-abi3-manylinux2014_x86_64", True, False), ("cp313-abi3-manylinux2014_x86_64", False, False),
    ("cp310-cp310-manylinux2014_x86_64", False, False), ("cp311-none-linux_x86_64", True, False),
    ("cp312-none-any", False, True), ("cp311-cp311-win_amd64", False, False), ("cp39-cp39-any", False, False),
])  # fmt: skip
def test_a_wheel_fits_a_machine(tags: str, debian: bool, alpine: bool) -> None:
    name = f"some_thing-1.0-{tags}.whl"
    assert (DEBIAN.takes(name), ALPINE.takes(name)) == (debian, alpine)


def test_this_machine_takes_what_is_installed_on_it() -> None:
    assert Machine.own().takes("millstream-1.0-py3-none-any.whl")
    assert Machine.own().machine in Machine.own().system

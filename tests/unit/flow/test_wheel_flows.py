"""Flows out of wheels: unpacked into a folder of their own, and what is no sound wheel is refused."""

from __future__ import annotations

import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from millstream.flow import Wheel, build_flow, drive, read_lines, read_spec
from millstream.flow._wheel import FILES_COUNT_MAX
from millstream.kernel import ConfigError, NotFoundError

FLOW = """
from millstream.flow import Emit, Flow, Input
from acme_rows.words import NAME


def step(state, event):
    return state + 1, [Emit(f"{event.key}:{NAME}", state + 1, event.time_ns)]


flow = Flow(name="rows", inputs=(Input("acme/**:row"),), step=step, initial=int, state_type=int)
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
METADATA = "Metadata-Version: 2.1\nName: acme-rows\nVersion: 1.0\n"


def wheel(folder: Path, files: Mapping[str, str] | None = None, *, metadata: str = METADATA, tags: str = WHEEL) -> Path:
    """A wheel with a flow in it, and more."""
    path = folder / "acme_rows-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("acme_rows/__init__.py", "")
        file.writestr("acme_rows/words.py", 'NAME = "rows"\n')
        file.writestr("acme_rows/counting.py", FLOW)
        file.writestr("acme_rows-1.0.dist-info/WHEEL", tags)
        file.writestr("acme_rows-1.0.dist-info/METADATA", metadata + "\nRequires-Dist: no header, but text\n")
        for name, text in (files or {}).items():
            file.writestr(name, text)
    return path


@pytest.fixture(autouse=True)
def path_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a process of its own would do to its path ends with the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("acme_rows", "acme_odd")]:
        del sys.modules[name]


def flow_of(folder: Path, python: str = "acme_rows.counting:flow", path: Path | None = None) -> object:
    path = path or folder / "acme_rows-1.0-py3-none-any.whl"
    spec = read_spec({"name": "rows", "python": python, "module": path.name})
    return build_flow(spec, path.parent, scratch=folder / "scratch")


def refused(folder: Path, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        flow_of(folder)
    assert caught.value.code == "MS-0715"


def test_a_flow_comes_out_of_a_wheel(tmp_path: Path) -> None:
    wheel(tmp_path, metadata=METADATA + 'Requires-Dist: msgspec>=0.1\nRequires-Dist: nowhere-1; extra == "more"\n')
    for _ in range(2):  # a worker that starts again unpacks it again
        flow = flow_of(tmp_path)
        outcome = drive(flow, list(read_lines('{"time": "1s", "path": "acme/m:row", "value": 1}')))  # type: ignore[arg-type]
        assert [message.subject for message in outcome.messages] == ["uns.v1.acme.m._count.rows"]
    assert sys.path[-1] == str((tmp_path / "scratch" / "wheel").resolve()), "it takes the place of nothing"
    with pytest.raises(ConfigError, match="not a flow"):
        flow_of(tmp_path, "acme_rows.counting:step")


@pytest.mark.attack("a wheel whose files lead out of its folder, or are links", layer="wheel: names")
@pytest.mark.parametrize(
    "name",
    ["../evil.py", "acme_rows/../../evil.py", "/tmp/evil.py", "C:/evil.py", "acme_rows\\..\\evil.py",
     "ACME_ROWS/WORDS.py"],
)  # fmt: skip
def test_a_wheel_with_path_tricks_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    wheel(tmp_path, {name: "evil = True\n"})
    refused(tmp_path, "leads out of its folder")
    assert not (tmp_path / "scratch").exists()


def test_links_and_devices_in_a_wheel_are_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    info = zipfile.ZipInfo("acme_rows/link.py")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(info, "/etc/passwd")
    refused(tmp_path, "leads out of its folder")


@pytest.mark.attack("a wheel that unpacks to more than it looks like", layer="wheel: bounds")
def test_a_wheel_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file, file.open("acme_rows/big.bin", "w") as big:
        for _ in range(257):
            big.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    refused(tmp_path, "unpack to too much")
    wheel(tmp_path, {f"acme_rows/f{i}.py": "" for i in range(FILES_COUNT_MAX)})
    refused(tmp_path, "unpack to too much")


@pytest.mark.parametrize(
    ("tags", "metadata", "files", "said"),
    [
        (WHEEL.replace("true", "false"), METADATA, {}, "one kind of machine"),
        (WHEEL, METADATA + "Requires-Dist: nowhere-to-be-found (>=1)\n", {}, "a package that is not here"),
        (WHEEL, METADATA, {"acme_rows-1.0.data/scripts/run": "x"}, "only an installer"),
        (WHEEL, METADATA, {"millstream/flow.py": "x"}, "only an installer"),
        (WHEEL, METADATA, {"acme_rows/words.py": "x"}, "leads out of its folder, or is no file"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_no_wheel_for_here_is_refused(
    tmp_path: Path, tags: str, metadata: str, files: dict[str, str], said: str
) -> None:
    wheel(tmp_path, files, tags=tags, metadata=metadata)
    refused(tmp_path, said)


def test_what_is_no_wheel_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "acme_rows-1.0-py3-none-any.whl"
    whole = wheel(tmp_path).read_bytes()
    for raw in (b"", b"PK\3\4", whole[: len(whole) // 2], whole[:40] + bytes(40) + whole[80:]):
        path.write_bytes(raw)
        refused(tmp_path, "cannot be used")
    path.unlink()
    with pytest.raises(NotFoundError):
        flow_of(tmp_path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("acme_rows/counting.py", FLOW)
    refused(tmp_path, "it is no wheel")


def test_a_package_that_raises_or_is_another_one_is_told(tmp_path: Path) -> None:
    wheel(tmp_path, {"acme_odd.py": "raise RuntimeError('no')", "colorsys.py": "flow = None"})
    with pytest.raises(ConfigError, match="acme_odd raised RuntimeError: no"):
        flow_of(tmp_path, "acme_odd:flow")
    with pytest.raises(ConfigError, match="another package of this name"):
        flow_of(tmp_path, "colorsys:flow")


def test_the_source_is_looked_at_without_running_it(tmp_path: Path) -> None:
    opened = Wheel(wheel(tmp_path, {"acme_odd.py": "("}), "test")
    try:
        assert opened.source_of("acme_rows.counting").body
        for name in ("acme_odd", "nowhere"):
            with pytest.raises(ConfigError):
                opened.source_of(name)
    finally:
        opened.close()


@pytest.mark.parametrize(
    "section",
    [
        {"python": "a.b:flow"}, {"python": "a.py:flow", "module": "m.whl"}, {"type": "rate", "module": "m.wasm"},
        {"type": "wasm"}, {"type": "wasm", "python": "a.b:flow", "module": "m.whl"},
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(section: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        read_spec({"name": "rows", **section})

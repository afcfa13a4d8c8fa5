"""What keeps a node from starting: a wrong file, a taken port. One clear error each; what was stored before stays."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_site import WITNESS_ROWS, load, running_site

from millstream.cli import main
from millstream.edge import EdgeNode
from millstream.kernel import PlantError

EDGE = "edge: {name: e1, path: acme/plant1, data_dir: data}\n"
HUB = "hub: {name: h1, data_dir: hub}\n"
WRONG = {
    "no YAML": (EDGE + "server: [\n", "not YAML"),
    "a tab": (EDGE + "server:\n\tport: 1\n", "tab"),
    "not UTF-8": (EDGE.encode() + b"# \xff\xfe\n", "UTF-8"),
    "an unknown key": (EDGE + "servr: {port: 1}\n", "did you mean 'server'"),
    "a wrong type": (EDGE + "server: {port: often}\n", "server.port"),
    "not a number": (EDGE + "server: {port: .nan}\n", "server.port"),
    "infinity": (EDGE + "server: {port: .inf}\n", "server.port"),
    "a huge text": ("edge: {name: " + "x" * 1_000_000 + ", path: acme/plant1, data_dir: data}\n", "edge.name"),
    "a secret in clear": (EDGE + "uplink: {url: 'nats://u:p@hub:7422'}\n", "uplink.url"),
}


@pytest.mark.parametrize("command", ["edge", "check"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_is_one_error_with_its_place_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    text, word = WRONG[kind]
    file = tmp_path / "edge.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main([command, str(file)] if command == "check" else [command, "-c", str(file)]) == 6
    captured = capsys.readouterr()
    said = (captured.out + captured.err).splitlines()
    errors = [line for line in said if "[MS-" in line]
    assert len(errors) == 1, said
    assert errors[0].startswith(f"{file}:"), errors
    assert word in errors[0]
    assert len(errors[0]) < 1000
    assert not (tmp_path / "data").exists()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("edge", EDGE + "server: {{port: {port}}}\n"),
        ("edge", EDGE + "server: {{mqtt_port: {port}}}\n"),
        ("hub", HUB + "server: {{leaf_port: {port}}}\n"),
        ("hub", HUB + "server: {{port: {port}}}\n"),
        ("hub", HUB + "api: {{port: {port}}}\n"),
        ("up", EDGE + HUB + "server: {{port: {port}}}\n"),
    ],
    ids=["edge", "edge-mqtt", "hub-leaf", "hub", "hub-api", "up"],
)
def test_a_taken_port_is_one_error_with_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], taken: int, command: str, text: str
) -> None:
    file = tmp_path / "node.yaml"
    file.write_text(text.replace("{{", "{").replace("}}", "}").replace("{port}", str(taken)))
    assert main([command, "-c", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    (error,) = [line for line in said if line.startswith("error")]
    assert str(taken) in error
    assert "MS-0601" in error
    assert sum(line.lstrip().startswith("tip") for line in said) == 1
    assert not any("Traceback" in line for line in said)


async def test_a_port_that_is_taken_at_the_restart_loses_nothing(tmp_path: Path, taken: int) -> None:
    async with running_site(tmp_path, ""):
        pass  # stores all numbers of the witness
    with pytest.raises(PlantError) as caught:
        async with EdgeNode(load(tmp_path, "", extra=f"server: {{port: {taken}}}")):
            pass
    assert caught.value.code in ("MS-0601", "MS-0100")
    async with running_site(tmp_path, "") as site:
        stored = await site.samples()
        assert [seen.value for seen in stored["witness:n"]] == list(range(WITNESS_ROWS))

"""A server whose certificate is wrong, as each connector that speaks TLS sees it: each fault by its own code."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from millstream.config import InstalledConnectors
from millstream.kernel import PlantError
from millstream.sdk import ConnectorTools

CODES = {
    "expired": "MS-0220", "self-signed": "MS-0221", "of another authority": "MS-0221", "revoked": "MS-0222",
    "for another name": "MS-0223",
}  # fmt: skip
CONNECTORS: Mapping[str, Mapping[str, Any]] = {
    "http": {"mode": "poll", "url": "https://127.0.0.1:{port}/"},
    "iolink": {"url": "https://127.0.0.1:{port}/iolink/v1"},
    "mtconnect": {"mode": "agent", "url": "https://127.0.0.1:{port}"},
    "mqtt": {"source": "broker", "host": "127.0.0.1", "port": "{port}", "client_id": "e1", "tls": True},
    "sparkplug": {"host": "127.0.0.1", "port": "{port}", "client_id": "e1", "host_id": "h", "tls": True},
}


@contextmanager
def tls_server(certificate: Path, key: Path) -> Iterator[int]:
    """Shakes hands, then hangs up; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # the listener is shut down
            while True:
                link, _ = listener.accept()
                with link, suppress(OSError), context.wrap_socket(link, server_side=True):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


async def refusal(name: str, port: int, files: Mapping[str, Path]) -> PlantError:
    """With what the connector gives up."""
    fields = {
        key: int(port) if value == "{port}" else value.format(port=port) if isinstance(value, str) else value
        for key, value in CONNECTORS[name].items()
    }
    kind = InstalledConnectors()[name]
    connector = kind(kind.Config.model_validate({**fields, **files}), ConnectorTools())
    async with asyncio.timeout(60):
        with pytest.raises(PlantError) as caught:
            async with connector.open():
                pass
    return caught.value


@pytest.mark.parametrize("name", CONNECTORS)
async def test_each_fault_of_a_servers_certificate_has_its_code(tmp_path: Path, name: str) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    found: dict[str, str] = {}
    for fault in ("none", *CODES):
        address = "127.0.0.9" if fault == "for another name" else "127.0.0.1"
        shown = (other if fault == "of another authority" else authority).sign(
            "server", address=address, is_expired=fault == "expired"
        )
        if fault == "self-signed":
            shown = authority.sign_itself("alone")
        crl = authority.revoke(shown.serial if fault == "revoked" else 4711)
        with tls_server(shown.certificate, shown.key) as port:
            found[fault] = (await refusal(name, port, {"ca_file": authority.ca_file, "crl_file": crl})).code
    assert found.pop("none") not in CODES.values()  # the hand was shaken; what fails then is the protocol behind it
    assert found == CODES

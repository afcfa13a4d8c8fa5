"""A Tryton server on loopback with a copy of the prepared database, and a door before it that can hold answers back."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import peers  # tools/
from millstream.kernel import free_port

PASSWORD = "secret of the plant"
UP_S = 120.0
CONF = """
[database]
uri = sqlite://
path = {folder}
[web]
listen = 127.0.0.1:{port}
"""


@contextmanager
def tryton(folder: Path) -> Iterator[int]:
    """The server's port once it answers."""
    folder.mkdir()
    shutil.copy(peers.prepared_file("tryton"), folder / "plant.sqlite")
    port = free_port()
    (folder / "trytond.conf").write_text(CONF.format(folder=folder, port=port), encoding="utf-8")
    python = peers.venv_python("tryton")
    words = [str(python), str(python.with_name("trytond")), "-c", str(folder / "trytond.conf"), "-d", "plant"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            end = time.monotonic() + UP_S
            while not _answers(port):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
            yield port
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


class Door:
    """What went through: writes of productions, as they came. While it holds, answers to them stay here."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.held = threading.Event()
        """Tryton has answered a write, and nobody was told."""
        self.let_go = threading.Event()
        self.let_go.set()
        self.headers: list[dict[str, str]] = []
        self.works: list[bytes] = []
        self.work_headers: list[dict[str, str]] = []


@contextmanager
def door_before(port: int) -> Iterator[tuple[int, Door]]:
    """A server that passes everything on to the one at a port."""
    door = Door()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = send(port, self.path, body, dict(self.headers))
            if b'"model.production.work.write"' in body:
                door.works.append(body)
                door.work_headers.append(dict(self.headers))
            if b'"model.production.write"' in body:
                door.writes.append(body)
                door.headers.append(dict(self.headers))
                if not door.let_go.is_set():
                    door.held.set()
                    door.let_go.wait(UP_S)
                    self.close_connection = True
                    return
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # whoever asked may have been killed
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], door
        finally:
            door.let_go.set()
            server.shutdown()
            thread.join()


def send(port: int, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """One request to the server itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=UP_S)
    try:
        kept = {name: text for name, text in headers.items() if name.lower() in ("authorization", "content-type")}
        connection.request("POST", path, body, kept)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()

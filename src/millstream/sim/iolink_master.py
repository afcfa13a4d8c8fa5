"""A simulated IO-Link master with four ports: python -m millstream.sim.iolink_master --port 0.

It speaks both JSON dialects: the JSON Integration below ``/iolink/v1`` and the IoT core's requests to ``/``. The first
line on standard output is ``{"port": .., "addresses": {name: address}}``; SIGTERM or SIGINT ends it.

    port 1  a temperature and vibration sensor: int16@16 is the temperature in 0.1 degrees, uint12@4 a velocity in
            0.1 mm/s, bool@0 a switch; the Smart Sensor Profile's "no data" while it is unplugged from its probe
            its parameters: index 18 its name, 24 the application's tag, 60 two limits (int16 at subindex 1 and 2)
    port 2  a valve terminal with two octets of output data, which come back as its input data
    port 3  nothing is connected
    port 4  a digital input
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from millstream.sim._whims import DeviceClock, Freeze, add_clock, add_freeze

BODY_BYTES_MAX = 1 << 16
CLIENTS_COUNT_MAX = 16
NO_DATA = 32764
APPLICATION_TAG_OCTETS_MAX = 32
ADDRESSES = {
    "temperature": "port1:in:int16@16",
    "velocity": "port1:in:uint12@4",
    "switch": "port1:in:bool@0",
    "product": "port1:product_name",
    "valves": "port2:out:uint8@8",
    "empty": "port3:in",
    "gate": "port4:pin4",
}
_DEVICE = re.compile(r"/iolink/v1/devices/master1port(\d)(/.*)\Z")
_PARAMETER = re.compile(r"/parameters/(\d+)(?:/subindices/(\d+))?/value\Z")
_POINT = re.compile(r"/iolinkmaster/port\[(\d)\]/(pin2in|mode|iolinkdevice/\w+)\Z")
_ACYCLIC = re.compile(r"/iolinkmaster/port\[(\d)\]/iolinkdevice/iol(read|write)acyclic\Z")
_NAMES = {1: ("TempVib 4", 101), 2: ("Valves 16", 202)}
_ERRORS = {
    301: (404, "Resource not found"),
    304: (404, "deviceAlias not found"),
    307: (400, "Port is not configured to IO-Link"),
    308: (404, "IO-Link Device is not accessible"),
    309: (404, "IO-Link parameter not found"),
    310: (400, "IO-Link parameter access error"),
}


class Refused(Exception):
    """A request is answered by an error of the JSON Integration."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


@dataclass(slots=True)
class IoLinkMaster:
    """The four ports, and a server for them."""

    is_probe_connected: bool = True
    outputs: bytes = b"\0\0"
    events: list[dict[str, Any]] = field(default_factory=list)
    limits: list[bytes] = field(default_factory=lambda: [b"\x03\x20", b"\xff\x9c"])
    application_tag: bytes = b"***\0"
    requests_count: int = 0
    freeze: Freeze = field(default_factory=Freeze)
    clock: DeviceClock = field(default_factory=DeviceClock)
    _moved_s: float = field(default_factory=time.monotonic)
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)
    _handlers: set[asyncio.Task[None]] = field(default_factory=set)

    # -- process data -------------------------------------------------------------------------------------------------

    def inputs(self, port: int) -> bytes:
        """What the device at `port` sends now. Raises Refused."""
        if port == 1:
            now_s = self._moved_s = self._moved_s if self.freeze.is_on else time.monotonic()
            temperature = round(400 + 50 * math.sin(now_s / 10)) if self.is_probe_connected else NO_DATA
            velocity = round(100 + 80 * math.sin(now_s))
            return (temperature << 16 | velocity << 4 | int(velocity > 150)).to_bytes(4, "big")
        if port == 2:
            return self.outputs
        raise Refused({3: 308, 4: 307}.get(port, 304))

    def parameter(self, port: int, index: int, subindex: int) -> bytes | None:
        """The octets of a parameter; None when the device has none there."""
        if port == 1 and index == 60 and subindex <= 2:
            return self.limits[subindex - 1] if subindex else b"".join(self.limits)
        texts = {18: _NAMES[port][0].encode(), 24: self.application_tag} if port in _NAMES else {}
        return texts.get(index) if subindex == 0 else None

    def set_parameter(self, port: int, index: int, subindex: int, octets: bytes) -> bool:
        """Set the limits or the application's tag of the device at port 1; False for what it does not take."""
        if port == 1 and index == 60 and subindex in (1, 2) and len(octets) == 2:
            self.limits[subindex - 1] = octets
        elif port == 1 and index == 60 and subindex == 0 and len(octets) == 4:
            self.limits = [octets[:2], octets[2:]]
        elif port == 1 and index == 24 and subindex == 0 and len(octets) <= APPLICATION_TAG_OCTETS_MAX:
            self.application_tag = octets
        else:
            return False
        return True

    def raise_event(self, code: int, text: str, *, mode: str = "APPEARS") -> None:
        """One more event of the device at port 1, with its master's time."""
        second = time.gmtime(self.clock.now_ns() // 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", second) + f".{len(self.events) % 1000:03d}Z"
        origin = {"masterNumber": 1, "portNumber": 1, "deviceAlias": "master1port1"}
        message = {"code": code, "mode": mode, "text": text}
        self.events.append({"time": stamp, "severity": "WARNING", "origin": origin, "message": message})

    # -- JSON Integration ---------------------------------------------------------------------------------------------

    def answer_json(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and document of a request below /iolink/v1."""
        try:
            return self._answer_json(method, path.partition("?")[0], body)
        except Refused as refused:
            status, message = _ERRORS[refused.code]
            return status, {"code": refused.code, "message": message}

    def _answer_json(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/iolink/v1/gateway/identification":
            return 200, {"macAddress": "02:00:00:00:00:01", "vendorName": "Millstream", "productName": "simulated"}
        if path == "/iolink/v1/masters/1/ports":
            statuses = ("DEVICE_ONLINE", "DEVICE_ONLINE", "COMMUNICATION_LOST", "DIGITAL_INPUT_C/Q")
            entries = enumerate(statuses, 1)
            return 200, [{"portNumber": n, "deviceAlias": f"master1port{n}", "statusInfo": s} for n, s in entries]
        match = _DEVICE.match(path)
        if match is None:
            raise Refused(301)
        port, tail = int(match[1]), match[2]
        if tail == "/processdata/value" and method == "POST":
            return self._set_outputs(port, body.get("iolink", {}).get("value") if isinstance(body, dict) else None)
        if tail == "/processdata/getdata/value" and port == 4:
            return 200, {"cqValue": True}
        if tail == "/processdata/getdata/value":
            return 200, {"iolink": {"valid": True, "value": list(self.inputs(port))}, "iqValue": port == 1}
        if tail == "/processdata/setdata/value" and port == 2:
            return 200, {"iolink": {"valid": True, "value": list(self.outputs)}}
        self.inputs(port)
        if (parameter := _PARAMETER.match(tail)) is not None:
            octets = self.parameter(port, int(parameter[1]), int(parameter[2] or 0))
            if octets is None:
                raise Refused(309)
            if method == "POST":
                return self._take_parameter(port, int(parameter[1]), int(parameter[2] or 0), body)
            return 200, {"value": list(octets)}
        if tail == "/identification":
            name, device_id = _NAMES[port]
            return 200, {"vendorId": 999, "deviceId": device_id, "productName": name, "serialNumber": f"S{port}"}
        if tail == "/events":
            return 200, self.events if port == 1 else []
        raise Refused(301)

    def _take_parameter(self, port: int, index: int, subindex: int, body: Any) -> tuple[int, Any]:
        given = body.get("value") if isinstance(body, dict) else None
        if not isinstance(given, list) or not all(isinstance(octet, int) and 0 <= octet <= 255 for octet in given):
            return 400, {"code": 202, "message": "JSON data value invalid"}
        if not self.set_parameter(port, index, subindex, bytes(given)):
            raise Refused(310)
        return 204, None

    def _set_outputs(self, port: int, octets: object) -> tuple[int, Any]:
        if port != 2 or not isinstance(octets, list) or len(octets) != len(self.outputs):
            return 400, {"code": 202, "message": "JSON data value invalid"}
        self.outputs = bytes(octets)
        return 204, None

    # -- IoT core -----------------------------------------------------------------------------------------------------

    def answer_iotcore(self, request: Any) -> Any:
        """The answer to one request of an IoT core."""
        if not isinstance(request, dict):
            return {"cid": -1, "code": 400}
        answer: dict[str, Any] = {"cid": request.get("cid", -1), "code": 200}
        address, data = str(request.get("adr", "")), request.get("data")
        data = data if isinstance(data, dict) else {}
        if address.strip("/") == "getdatamulti":
            answer["data"] = {path: self._point(str(path)) for path in data.get("datatosend", ())}
        elif (asked := _ACYCLIC.match(address)) is not None:
            place = int(asked[1]), int(data.get("index", 0)), int(data.get("subindex", 0))
            octets = self.parameter(*place)
            if asked[2] == "write":
                answer["code"] = 200 if self.set_parameter(*place, bytes.fromhex(str(data.get("value", "")))) else 530
            else:
                answer["code"] = 530 if octets is None else 200
                answer |= {} if octets is None else {"data": {"value": octets.hex().upper()}}
        elif address.endswith("/pdout/setdata"):
            octets = bytes.fromhex(str(data.get("newvalue", "")))
            status, _ = self._set_outputs(int(address[19:20]), list(octets))
            answer["code"] = 200 if status == 204 else 400
        else:
            entry = self._point(address.removesuffix("/getdata"))
            answer["code"] = entry["code"]
            answer |= {"data": {"value": entry["data"]}} if "data" in entry else {}
        return answer

    def _point(self, path: str) -> dict[str, Any]:
        if path == "/deviceinfo/productcode":
            return {"code": 200, "data": "simulated"}
        if path == "/processdatamaster/temperature":
            return {"code": 200, "data": 35}
        match = _POINT.match(path)
        if match is None or not 1 <= int(match[1]) <= 4:
            return {"code": 404}
        port, name = int(match[1]), match[2]
        if name == "pin2in":
            return {"code": 200, "data": int(port == 1)}
        if port not in _NAMES:
            return {"code": 200, "data": 0} if name == "iolinkdevice/status" else {"code": 503}
        product, device_id = _NAMES[port]
        found: dict[str, Any] = {
            "mode": 3, "iolinkdevice/status": 2, "iolinkdevice/vendorid": 999, "iolinkdevice/deviceid": device_id,
            "iolinkdevice/productname": product, "iolinkdevice/serial": f"S{port}",
            "iolinkdevice/pdin": self.inputs(port).hex().upper(),
        }  # fmt: skip
        if port == 2:
            found["iolinkdevice/pdout"] = self.outputs.hex().upper()
        return {"code": 200, "data": found[name]} if name in found else {"code": 404}

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    async def serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the client goes."""
        task = asyncio.current_task()
        if len(self._clients) >= CLIENTS_COUNT_MAX or task is None:
            writer.close()
            return
        self._clients.add(writer)
        self._handlers.add(task)
        try:
            with suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.CancelledError):
                while True:
                    await self._serve_one(reader, writer)
        finally:
            self._clients.discard(writer)
            self._handlers.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        lines = (line.partition(":") for line in head[1:])
        length = next((int(value) for name, _, value in lines if name.lower() == "content-length"), 0)
        if length > BODY_BYTES_MAX:
            raise ValueError("body is too large")
        raw = await reader.readexactly(length)
        body = json.loads(raw) if raw else None
        self.requests_count += 1
        if path.startswith("/iolink/v1/"):
            status, document = self.answer_json(method, path, body)
        else:
            status, document = 200, self.answer_iotcore(body)
        content = b"" if document is None else json.dumps(document).encode()
        kind = "Content-Type: application/json\r\n" if content else ""
        size = f"Content-Length: {len(content)}\r\n" if status != 204 else ""
        writer.write(f"HTTP/1.1 {status} -\r\n{kind}{size}\r\n".encode() + content)
        await writer.drain()

    async def drop_clients(self) -> None:
        """Close every connection and wait for their ends."""
        for writer in list(self._clients):
            writer.transport.abort()
        handlers = list(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    clock = DeviceClock(options.clock_offset, options.clock_drift)
    master, ending = IoLinkMaster(freeze=Freeze(options.freeze_after), clock=clock), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    server = await asyncio.start_server(master.serve_client, options.host, options.port)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1], "addresses": ADDRESSES}) + "\n")
    sys.stdout.flush()
    try:
        await ending.wait()
    finally:
        server.close()
        await master.drop_clients()


def main(arguments: list[str] | None = None) -> None:
    """Entry of the process."""
    parser = argparse.ArgumentParser(description="A simulated IO-Link master with four ports.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    add_clock(parser)
    add_freeze(parser)
    asyncio.run(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()

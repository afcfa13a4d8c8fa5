"""More requests to JetStream than may wait: the server drops them and says so, and the hub hears it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bus_server import Server

from millstream.bus import Credentials, RawConnection, StreamApi
from millstream.hub._server_events import SystemEars, _Repeats
from millstream.protocols.server_advisory import ServerEvent

WAITING_MAX = 4  # of 10,000; the server then drops all that wait
REQUESTS = 2000


async def test_requests_that_a_server_drops_are_one_event(tmp_path: Path) -> None:
    server, heard = Server(tmp_path, domain="hub", jetstream=f"request_queue_limit: {WAITING_MAX}"), list[ServerEvent]()
    await server.start()
    try:
        system = RawConnection(server.url, credentials=Credentials("system", "only-for-tests"))
        async with system, RawConnection(server.url, credentials=server.credentials) as client:
            await SystemEars(system, lambda _, event: heard.append(event)).listen()
            await StreamApi(client).request("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"], "storage": "memory"})
            async with asyncio.timeout(20):
                while not heard:
                    for _ in range(REQUESTS):
                        client.publish("$JS.API.STREAM.LIST", b"{}", reply="nobody")
                    await asyncio.sleep(0.05)
    finally:
        server.kill()
    assert {(event.what, event.code) for event in heard} == {("api_limit", "MS-2615")}
    assert {event.data["server"] for event in heard} == {"t"}
    assert all(event.data["dropped"] > 0 for event in heard)
    assert f"server t dropped {heard[0].data['dropped']} requests to JetStream" in heard[0].text
    repeats = _Repeats()
    assert [event for number, event in enumerate(heard * 50) if repeats.judge(event, number) is not None] == heard[:1]

"""An asyncua server that keeps the events of its Server object. Prints {"port": ..}, and {"kept": number} of an event
once its history has it. SIGUSR1 raises one, SIGUSR2 twenty; SIGTERM ends it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import signal
import sys
from typing import Any

from asyncua import Server, ua

from millstream.kernel import free_port


def say(**words: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve until SIGTERM."""
    server = Server()
    gc.disable()  # the objects of the standard stay: looking at them again and again takes half of the time
    await server.init()
    gc.freeze()
    gc.enable()
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    port = free_port()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    events = await server.get_event_generator()
    end, wanted = asyncio.Event(), asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    loop.add_signal_handler(signal.SIGUSR1, wanted.release)
    loop.add_signal_handler(signal.SIGUSR2, lambda: [wanted.release() for _ in range(20)])

    async def raise_events() -> None:
        for number in itertools.count(1):
            await wanted.acquire()
            events.event.Severity = 100 if number % 2 else 600
            await events.trigger(message=f"event {number}")
            while len((await history.read_event_history(server.nodes.server.nodeid, None, None, 0, None))[0]) < number:
                await asyncio.sleep(0.01)
            say(kept=number)

    async with server:
        await server.iserver.enable_history_event(server.nodes.server, None)
        history: Any = server.iserver.history_manager.storage
        task = asyncio.create_task(raise_events())
        say(port=port)
        await end.wait()
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())

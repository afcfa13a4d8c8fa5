"""The same count as many plants have it: a paho service on a Mosquitto, `python -m bench.count._mqtt EVENTS KEYS`.

QoS 1 in and out, a session that the broker keeps, totals saved each second. What was counted after the last save is
gone when the service dies, and what was not acknowledged yet is counted again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench._report import digest
from bench.count._load import level, program
from millstream.kernel import free_port

SAVE_S = 1.0
WINDOW_MESSAGES = 1000  # unacknowledged ones of the sender
DEADLINE_S = 300.0


def client(name: str, *, is_kept: bool = False) -> Any:
    """A paho client, connected by the caller."""
    from paho.mqtt import client as paho  # for the comparison only: no dependency of the product
    from paho.mqtt.enums import CallbackAPIVersion

    made = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=not is_kept)
    made.max_queued_messages_set(0)
    made.max_inflight_messages_set(WINDOW_MESSAGES)
    return made


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A Mosquitto on loopback; its port."""
    port = free_port()
    lines = [
        f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence true", f"persistence_location {folder}/",
        "max_queued_messages 0", f"max_inflight_messages {WINDOW_MESSAGES}",
        *(["user root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    (folder / "conf").write_text("\n".join(lines) + "\n")
    found = program()
    assert found is not None
    process = subprocess.Popen([found, "-c", str(folder / "conf")], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def connected(made: Any, port: int) -> None:
    """Try until the broker answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            made.connect("127.0.0.1", port, keepalive=60)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def run(count: int, keys: int) -> dict[str, Any]:
    """Seconds from the first event until the last total is back."""
    totals: dict[str, int] = {}
    seen, done, listening = [0], threading.Event(), threading.Event()
    expected = sum(level(n, keys) for n in range(count))

    def on_message(_client: Any, _data: Any, message: Any) -> None:
        totals[message.topic.removeprefix("out/")] = int(message.payload)
        seen[0] += 1
        if seen[0] >= expected:
            done.set()

    with tempfile.TemporaryDirectory(prefix="millstream-bench-") as name, broker(Path(name)) as port:
        sink, source = client("sink"), client("source")
        sink.on_message, sink.on_subscribe = on_message, lambda *_: listening.set()
        connected(sink, port)
        sink.loop_start()
        sink.subscribe("out/#", qos=1)
        listening.wait(30)
        command = [sys.executable, "-m", "bench.count._mqtt", "service", str(port), f"{name}/totals"]
        service = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert service.stdout is not None
            service.stdout.readline()
            connected(source, port)
            source.loop_start()
            begun = time.perf_counter()
            for n in range(count):
                source.publish(f"in/machine{n % keys}", str(level(n, keys)), qos=1)
            is_done = done.wait(DEADLINE_S)
            seconds = time.perf_counter() - begun
        finally:
            service.terminate()
            service.wait()
            for each in (source, sink):
                each.disconnect()
                each.loop_stop()
    if not is_done:
        raise SystemExit(f"bench: {seen[0]} of {expected} totals came back within {DEADLINE_S:g} s")
    return {"seconds": seconds, "outputs": seen[0], "hash": digest(sorted(totals.items()))}


def serve(port: int, file: Path) -> None:
    """Count until stopped."""
    totals: dict[str, int] = {}
    levels: dict[str, int] = {}
    made = client("service", is_kept=True)

    def on_message(mine: Any, _data: Any, message: Any) -> None:
        key, now = message.topic.removeprefix("in/"), int(message.payload)
        if now and not levels.get(key, 0):
            totals[key] = totals.get(key, 0) + 1
            mine.publish(f"out/{key}", str(totals[key]), qos=1)
        levels[key] = now

    def on_subscribe(*_: Any) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    made.on_message, made.on_subscribe = on_message, on_subscribe
    connected(made, port)
    made.loop_start()
    made.subscribe("in/#", qos=1)
    while True:
        time.sleep(SAVE_S)
        draft = file.with_suffix(".part")
        draft.write_text(json.dumps([dict(totals), dict(levels)]), encoding="utf-8")
        draft.replace(file)


def main() -> None:
    """The whole comparison, or the service in it."""
    if sys.argv[1] == "service":
        serve(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()

"""What many plants run today: a paho service that takes messages off a broker and counts them.

It subscribes with QoS 1 and a session that the broker keeps, counts in memory, and saves the counts each second
(written, synced and renamed, which is more than most do). paho acknowledges a message as soon as the callback has it,
so what was counted after the last save is gone when the service dies. This is the comparison in `millstream torture`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

SAVE_S = 1.0


def save(path: Path, counts: Counter[str]) -> None:
    """Whole or not at all."""
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(counts, stream)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def load(path: Path) -> Counter[str]:
    """What the last run saved."""
    try:
        return Counter({str(k): int(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()})
    except (OSError, ValueError):
        return Counter()


def main(arguments: list[str] | None = None) -> None:
    """Count until SIGTERM."""
    parser = argparse.ArgumentParser(description="A plain MQTT counter service, for comparison.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True, help="where the counts are saved")
    parser.add_argument("--topic", default="barrier/+")
    options = parser.parse_args(arguments)
    from paho.mqtt import client as paho  # for the comparison only: no dependency of the product
    from paho.mqtt.enums import CallbackAPIVersion

    counts, lock, ending = load(options.file), threading.Lock(), threading.Event()

    def on_connect(client: Any, *_: Any) -> None:
        client.subscribe(options.topic, qos=1)
        sys.stdout.write("{}\n")
        sys.stdout.flush()

    def on_message(_client: Any, _data: Any, message: Any) -> None:
        with lock:
            counts[message.topic] += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="naive-counter", clean_session=False)
    client.on_connect, client.on_message = on_connect, on_message
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.connect_async("127.0.0.1", options.port, keepalive=10)
    client.loop_start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    while not ending.wait(SAVE_S):
        with lock:
            copy = Counter(counts)
        save(options.file, copy)
    client.loop_stop()
    save(options.file, counts)


if __name__ == "__main__":
    main()

"""An edge node on pysparkplug, group "py", node "n1", device "d1"; runs in its own environment.

Argument: the broker's port. Each line of standard input is a command: {"ndata": {name: value}}, {"ddata": {..}},
{"stop": 1} (disconnects), {"die": 1} (no farewell).
"""

import json
import os
import sys

import pysparkplug as psp

TYPES = {"count": psp.DataType.INT32, "wide": psp.DataType.UINT32, "label": psp.DataType.STRING}
DEVICE_TYPES = {"speed": psp.DataType.DOUBLE}


def metrics(types, values):
    now = psp.get_current_timestamp()
    return tuple(psp.Metric(timestamp=now, name=n, datatype=types[n], value=v) for n, v in values.items())


def say(**what):
    print(json.dumps(what), flush=True)  # noqa: T201 - this is what it is for


node = psp.EdgeNode(
    "py",
    "n1",
    metrics(TYPES, {"count": 0, "wide": 2**32 - 1, "label": "first"}),
    cmd_callback=lambda _node, message: say(ncmd=[[m.name, m.value] for m in message.payload.metrics]),
)
device = psp.Device("d1", metrics(DEVICE_TYPES, {"speed": 1.5}))
node.register(device)
node.connect("127.0.0.1", port=int(sys.argv[1]))
say(born=True)
for line in sys.stdin:
    ask = json.loads(line)
    if "ndata" in ask:
        node.update(metrics(TYPES, ask["ndata"]))
    if "ddata" in ask:
        node.update_device("d1", metrics(DEVICE_TYPES, ask["ddata"]))
    if "stop" in ask:
        node.disconnect()
        say(stopped=True)
    if "die" in ask:
        os._exit(0)

"""An edge node and a device on mqtt-spb-wrapper, group "spb", node "n1", device "d1"; runs in its own environment.

Argument: the broker's port. Each line of standard input is a command: {"ndata": {name: value}}, {"ddata": {..}},
{"dstop": 1}, {"stop": 1} (disconnect device or node), {"die": 1} (no farewell).
"""

import json
import os
import sys

from mqtt_spb_wrapper import MqttSpbEntityDevice, MqttSpbEntityEdgeNode


def say(**what):
    print(json.dumps(what), flush=True)  # noqa: T201 - this is what it is for


node = MqttSpbEntityEdgeNode("spb", "n1")
node.data.set_value("count", 0)
node.attributes.set_value("vendor", "somebody")
device = MqttSpbEntityDevice("spb", "n1", "d1")
device.data.set_value("temp", 20.5)
device.commands.set_value("reset", False)
for entity in (node, device):
    assert entity.connect("127.0.0.1", int(sys.argv[1]))
    entity.publish_birth()
say(born=True)
for line in sys.stdin:
    ask = json.loads(line)
    for entity, word in ((node, "ndata"), (device, "ddata")):
        if word in ask:
            for name, value in ask[word].items():
                entity.data.set_value(name, value)
            entity.publish_data()
    if "dstop" in ask:
        device.disconnect()
        say(stopped=True)
    if "stop" in ask:
        node.disconnect()
        say(stopped=True)
    if "die" in ask:
        os._exit(0)

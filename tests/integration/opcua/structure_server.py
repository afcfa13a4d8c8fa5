"""An asyncua server with a structure and an enumeration of its own, in a process of its own, so that the client has to
learn them, and with a node that takes anything. Prints {"port": ..}; SIGTERM ends it."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from typing import Any

from asyncua import Server, ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

from millstream.kernel import free_port


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
    index = await server.register_namespace("urn:structures")
    await new_struct(
        server,
        index,
        "ToolState",
        [
            new_struct_field("Number", ua.VariantType.UInt32),
            new_struct_field("Wear", ua.VariantType.Double),
            new_struct_field("Names", ua.VariantType.String, array=True),
        ],
    )
    await new_enum(server, index, "Phase", ["Idle", "Cutting"])
    custom: dict[str, Any] = await server.load_data_type_definitions()
    tool = custom["ToolState"](Number=7, Wear=0.25, Names=["a", "b"])
    objects = server.nodes.objects
    await objects.add_variable(ua.NodeId("fixed", index), ua.QualifiedName("fixed", index), tool)
    node = await objects.add_variable(ua.NodeId("tool", index), ua.QualifiedName("tool", index), tool)
    await node.set_writable()
    tools = ua.Variant([tool, tool], ua.VariantType.ExtensionObject)
    node = await objects.add_variable(ua.NodeId("tools", index), ua.QualifiedName("tools", index), tools)
    await node.set_writable()
    await objects.add_variable(
        ua.NodeId("phase", index), ua.QualifiedName("phase", index), ua.Variant(1, ua.VariantType.Int32)
    )
    anything = ua.NodeId(ua.ObjectIds.BaseDataType)
    node = await objects.add_variable(
        ua.NodeId("note", index), ua.QualifiedName("note", index), None, ua.VariantType.Null, anything
    )
    await node.set_writable()
    held = [ua.DataValue()]  # kept outside of the address space, as a gateway does: then the server takes a null too
    server.set_attribute_value_callback(node.nodeid, lambda _node, _attribute: held[0])
    server.set_attribute_value_setter(node.nodeid, lambda _node, _attribute, value: held.__setitem__(0, value))
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with server:
        sys.stdout.write(json.dumps({"port": port}) + "\n")
        sys.stdout.flush()
        await end.wait()


if __name__ == "__main__":
    asyncio.run(main())

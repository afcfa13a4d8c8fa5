// A BACnet/IP device of node-bacnet: it has no subscriptions, so its values are polled.
// Arguments: address, port, and optionally words: "single" (no ReadPropertyMultiple), "small" (refuses more than 3
// properties at once), "unlisted" (gives its object list by elements only). Prints {"port": ..} when it listens;
// SIGTERM ends it. What it is asked for is counted in the analog values 100 (requests of many), 101 (requests of one)
// and 102 (the priority of the last write). What is written goes into a priority array: the highest priority shows, and
// without any the value that the device began with.
const Bacnet = require("node-bacnet");
const { ApplicationTag: T, ErrorClass, ErrorCode } = Bacnet.enum;

const [address, port, ...words] = process.argv.slice(2);
const real = (value) => [{ type: T.REAL, value }];
const text = (value) => [{ type: T.CHARACTER_STRING, value }];
const flags = (bits) => [{ type: T.BIT_STRING, value: { bitsUsed: 4, value: [bits] } }];
const number = (value) => [{ type: T.UNSIGNED_INTEGER, value }];
const choice = (value) => [{ type: T.ENUMERATED, value }];
const PV = 85, FLAGS = 111, RELIABILITY = 103, NAME = 77, UNITS = 117, DESCRIPTION = 28;

const objects = {
  "0:1": { [PV]: real(21.5), [FLAGS]: flags(0), [NAME]: text("supply air"), [UNITS]: choice(62), [DESCRIPTION]: text("roof") },
  "0:2": { [PV]: real(-40), [FLAGS]: flags(2), [RELIABILITY]: choice(4), [NAME]: text("return air") },
  "0:3": { [PV]: real(3), [FLAGS]: flags(8), [NAME]: text("spare") },
  "1:1": { [PV]: real(50), [FLAGS]: flags(4), [NAME]: text("valve") },
  "2:7": { [PV]: real(0), [FLAGS]: flags(0), [NAME]: text("setpoint") },
  "2:100": { [PV]: real(0) },
  "2:101": { [PV]: real(0) },
  "2:102": { [PV]: real(0) },
  "4:1": { [PV]: choice(1), [FLAGS]: flags(0), [NAME]: text("fan") },
  "19:1": { [PV]: number(2), [FLAGS]: flags(0), [NAME]: text("mode") },
  "2:2001": { [PV]: real(NaN) },
  "2:2002": { [PV]: real(-Infinity) },
  "46:1": { [PV]: [{ type: T.DOUBLE, value: 5e-324 }] },
  "40:1": { [PV]: text("größer als"), [FLAGS]: flags(0), [NAME]: text("label") },
};
const device = { 75: [{ type: T.OBJECTIDENTIFIER, value: { type: 8, instance: 1234 } }], 62: number(480), 112: choice(0) };
device[76] = [...Object.keys(objects), "8:1234"].map((key) => {
  const [type, instance] = key.split(":").map(Number);
  return { type: T.OBJECTIDENTIFIER, value: { type, instance } };
});
objects["8:1234"] = objects["8:4194303"] = device;
for (let n = 1; n <= 300; n += 1) objects[`2:${1000 + n}`] = { [PV]: real(n), [FLAGS]: flags(0) };

const client = new Bacnet({ interface: address, port: Number(port), broadcastAddress: "127.255.255.255", reuseAddr: false });
const find = (id, property, index = 0xffffffff) => {
  const value = objects[`${id.type}:${id.instance}`]?.[property];
  if (!value || index === 0xffffffff) return value;
  if (index === 0) return number(value.length);
  return value[index - 1] && [value[index - 1]];
};
const count = (key) => (objects[key][PV] = real(objects[key][PV][0].value + 1));
const whatFails = (id) => (objects[`${id.type}:${id.instance}`] ? ErrorCode.UNKNOWN_PROPERTY : ErrorCode.UNKNOWN_OBJECT);

client.on("listening", () => console.log(JSON.stringify({ port: Number(port) })));
client.on("whoIs", ({ payload, header }) => {
  if (payload?.lowLimit === undefined || (payload.lowLimit <= 1234 && 1234 <= payload.highLimit)) {
    client.iAmResponse(header.sender, 1234, 3, 999);
  }
});
client.on("readProperty", ({ payload, header, invokeId, service }) => {
  count("2:101");
  const { objectId, property } = payload;
  const value = find(objectId, property.id, property.index);
  if (!value || (words.includes("unlisted") && property.id === 76 && property.index === 0xffffffff))
    return client.errorResponse(header.sender, service, invokeId, ErrorClass.OBJECT, whatFails(objectId));
  client.readPropertyResponse(header.sender, invokeId, objectId, property, value);
});
if (!words.includes("single")) {
  client.on("readPropertyMultiple", ({ payload, header, invokeId, service }) => {
    count("2:100");
    const asked = payload.properties.flatMap((spec) => spec.properties).length;
    if (words.includes("small") && asked > 3) {
      return client.errorResponse(header.sender, service, invokeId, ErrorClass.SERVICES, ErrorCode.OTHER);
    }
    const values = payload.properties.map(({ objectId, properties }) => ({
      objectId,
      values: properties.map((property) => ({
        property,
        value: find(objectId, property.id, property.index) ?? [
          { value: { type: "BacnetError", errorClass: ErrorClass.OBJECT, errorCode: whatFails(objectId) } },
        ],
      })),
    }));
    client.readPropertyMultipleResponse(header.sender, invokeId, values);
  });
}
client.on("writeProperty", ({ payload, header, invokeId, service }) => {
  const { objectId, value } = payload;
  const held = find(objectId, value.property.id);
  const fail = (code) => client.errorResponse(header.sender, service, invokeId, ErrorClass.PROPERTY, code);
  if (!held) return fail(whatFails(objectId));
  if (objectId.type === 0) return fail(ErrorCode.WRITE_ACCESS_DENIED);
  const [sent] = value.value;
  if (objectId.type === 19 && (sent.value < 1 || sent.value > 3)) return fail(ErrorCode.VALUE_OUT_OF_RANGE);
  objects["2:102"][PV] = real(value.priority);
  const object = objects[`${objectId.type}:${objectId.instance}`];
  object.slots ??= [...Array(16).fill(null), held[0]];
  object.slots[(value.priority || 16) - 1] = sent.type === T.NULL ? null : sent;
  object[value.property.id] = [object.slots.find((slot) => slot !== null)];
  client.simpleAckResponse(header.sender, service, invokeId);
});
client.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
// The next request is answered with a frame of an unknown version.
process.on("SIGUSR2", () => {
  const { _server: socket } = client._transport;
  socket.once("message", (_, sender) => socket.send(Buffer.from("810a0008ffffffff", "hex"), sender.port, sender.address));
});
process.on("SIGTERM", () => process.exit(0));

// An edge node on npm sparkplug-client, group "js", node "n1", device "d1". Arguments: the broker's port, and if its
// messages are compressed the algorithm. Each line of standard input is a command: {"ndata": {name: value}},
// {"ddata": {..}}, {"ddeath": 1}, {"die": 1} (no farewell).
const readline = require("node:readline");
const sparkplug = require("sparkplug-client");

const own = { Count: ["Int32", 0], "Größe/Breite": ["Double", 0.5], Label: ["String", "first"], Big: ["UInt64", 1] };
const device = { "axis/speed": ["Float", 1.5], on: ["Boolean", true] };
const metrics = (table, names) =>
  names.map((name) => ({ name, type: table[name][0], value: table[name][1], properties: { engUnit: { type: "String", value: "mm" } } }));

const client = sparkplug.newClient({
  serverUrl: `tcp://127.0.0.1:${process.argv[2]}`,
  username: "",
  password: "",
  groupId: "js",
  edgeNode: "n1",
  clientId: "js-n1",
  version: "spBv1.0",
  keepalive: 5,
});
const options = process.argv[3] ? { compress: true, algorithm: process.argv[3] } : undefined;
const births = () => {
  const control = { name: "Node Control/Rebirth", type: "Boolean", value: false };
  client.publishNodeBirth({ timestamp: Date.now(), metrics: [control, ...metrics(own, Object.keys(own))] }, options);
  client.publishDeviceBirth("d1", { timestamp: Date.now(), metrics: metrics(device, Object.keys(device)) }, options);
};
client.on("birth", () => {
  births();
  console.log(JSON.stringify({ born: true }));
});
client.on("ncmd", (payload) => {
  console.log(JSON.stringify({ ncmd: payload.metrics.map((each) => [each.name ?? null, each.value]) }));
  if (payload.metrics.some((each) => each.name === "Node Control/Rebirth" && each.value === true)) births();
});
client.on("dcmd", (id, payload) => {
  console.log(JSON.stringify({ dcmd: payload.metrics.map((each) => [each.name ?? null, each.value]), device: id }));
});
client.on("error", (error) => console.error(String(error)));

const set = (table, values) => {
  for (const [name, value] of Object.entries(values)) table[name][1] = value;
  return { timestamp: Date.now(), metrics: metrics(table, Object.keys(values)) };
};
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const ask = JSON.parse(line);
  if (ask.ndata) client.publishNodeData(set(own, ask.ndata), options);
  if (ask.ddata) client.publishDeviceData("d1", set(device, ask.ddata), options);
  if (ask.ddeath) client.publishDeviceDeath("d1", { timestamp: Date.now(), metrics: [] });
  if (ask.die) process.exit(0);
});

// The C++ server of snap7 as a PLC. First argument: the port, second: {"pdu": bytes, "DB": {number: hex}, "MK": hex,
// "PE": hex, "PA": hex}. Prints {"port": ..} when it listens; lines on its input: "stop" and "run" set the CPU's mode,
// each is answered by {"cpu": mode}; SIGTERM ends it.
const readline = require("node:readline");
const snap7 = require("node-snap7");

const port = Number(process.argv[2]);
const memory = JSON.parse(process.argv[3]);
const server = new snap7.S7Server();
server.SetParam(server.LocalPort, port);
server.SetParam(server.PDURequest, memory.pdu || 480);
for (const [number, hex] of Object.entries(memory.DB || {})) {
  server.RegisterArea(server.srvAreaDB, Number(number), Buffer.from(hex, "hex"));
}
for (const [name, area] of [["MK", server.srvAreaMK], ["PE", server.srvAreaPE], ["PA", server.srvAreaPA]]) {
  if (memory[name]) server.RegisterArea(area, Buffer.from(memory[name], "hex"));
}
if (!server.StartTo("127.0.0.1")) {
  console.error(server.ErrorText(server.LastError()));
  process.exit(1);
}
console.log(JSON.stringify({ port }));
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  server.SetCpuStatus(line === "stop" ? 4 : 8);
  console.log(JSON.stringify({ cpu: server.GetCpuStatus() }));
});
process.on("SIGTERM", () => process.exit(0));

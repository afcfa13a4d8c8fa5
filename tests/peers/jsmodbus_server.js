// A jsmodbus server whose tables end early: past their end it answers with fewer registers instead of an exception.
// Prints {"port": ..} when it listens; SIGTERM ends it. Holding and input registers 0 to 9 hold 1000 + number.
const net = require("node:net");
const modbus = require("jsmodbus");

const words = () => {
  const buffer = Buffer.alloc(20);
  for (let number = 0; number < 10; number += 1) buffer.writeUInt16BE(1000 + number, 2 * number);
  return buffer;
};
const server = new net.Server();
new modbus.server.TCP(server, { holding: words(), input: words(), coils: Buffer.from([5]), discrete: Buffer.from([5]) });
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
process.on("SIGTERM", () => process.exit(0));

// What a browser does, on npm @nats-io/nats-core over WebSocket: it makes its own key and prints the public half. Then
// each line of standard input is a command: {"connect": url, "jwt": .., "inbox": ..}, {"subscribe": subject},
// {"request": subject, "data": text}, {"jwt": ..} (for the next connection), {"reconnect": 1}. Each answer is a line.
import readline from "node:readline";
import { jwtAuthenticator, wsconnect } from "@nats-io/nats-core";
import { createUser } from "@nats-io/nkeys";

const pair = createUser();
const print = (line) => console.log(JSON.stringify(line));
let jwt = "";
let client;

async function watch(connection) {
  for await (const status of connection.status()) {
    print({ status: status.type, error: status.error ? String(status.error) : undefined });
  }
}

async function request({ request: subject, data }) {
  const parts = [];
  let error;
  try {
    const answers = await client.requestMany(subject, data ?? "", { strategy: "timer", maxWait: 1500 });
    for await (const message of answers) {
      const headers = message.headers ? Object.fromEntries([...message.headers.keys()].map((k) => [k, message.headers.get(k)])) : {};
      parts.push({ bytes: message.data.length, text: message.string().slice(0, 2000), code: message.headers?.code, headers });
    }
  } catch (failed) {
    error = String(failed);
  }
  print({ answered: subject, parts, error });
}

const commands = {
  async connect(line) {
    jwt = line.jwt;
    try {
      client = await wsconnect({
        servers: line.connect,
        authenticator: jwtAuthenticator(() => jwt, pair.getSeed()),
        inboxPrefix: line.inbox,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 100,
        ignoreAuthErrorAbort: true,
      });
      watch(client);
      print({ connected: true });
    } catch (failed) {
      print({ connected: false, error: String(failed) });
    }
  },
  async subscribe(line) {
    client.subscribe(line.subscribe, {
      callback: (error, message) =>
        print(error ? { refused: line.subscribe, error: String(error) } : { live: message.subject, data: message.string() }),
    });
    await client.flush();
    print({ subscribed: line.subscribe });
  },
  request,
  jwt(line) {
    jwt = line.jwt;
    print({ taken: true });
  },
  async reconnect() {
    await client.reconnect();
  },
};

// A request of the library's own, in flight as the server hangs up, has nobody who waits for it.
process.on("unhandledRejection", (error) => print({ unhandled: String(error) }));
print({ public: pair.getPublicKey() });
readline.createInterface({ input: process.stdin }).on("line", async (text) => {
  const line = JSON.parse(text);
  await commands[Object.keys(line)[0]](line);
}).on("close", () => process.exit(0));

// Checks that a WebSocket server and client of npm's `ws` understand each other through a guest:
//   node websocket.mjs WASMEDGE GUEST.wasm
// WASMEDGE is the command; the guest is one that hands /ws/... to the backend `origin`. Exits with 1 and a reason when something
// is not as it should be.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { WebSocket, WebSocketServer } from "ws";

const [command, guest] = process.argv.slice(2);
setTimeout(() => fail("it takes longer than a minute"), 60_000).unref();

function fail(why) {
  console.error(`websocket.mjs: ${why}`);
  process.exitCode = 1;
  server?.kill();
  process.exit();
}

function check(right, what) {
  if (!right) fail(what);
}

const origin = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: true, handleProtocols: () => "chat" });
origin.on("connection", (socket, request) => {
  socket.send(`${request.url} ${request.headers["x-edge"]}`);
  socket.on("message", (data, isBinary) => {
    if (!isBinary && data.toString() === "bye") socket.close(4001, "as you wish");
    else socket.send(data, { binary: isBinary });
  });
});
await once(origin, "listening");

var server = spawn(
  command,
  ["serve", "--addr", "127.0.0.1:0", "--tls-self-signed", "--backend", `origin=http://127.0.0.1:${origin.address().port}`, guest],
  { stdio: ["ignore", "pipe", "inherit"] },
);
server.on("exit", (code) => process.exitCode === undefined && fail(`the server ended with ${code}`));
let address;
for await (const line of createInterface({ input: server.stdout })) {
  address = line.match(/Listening on https:\/\/(\S+)/)?.[1];
  if (address) break;
}
server.stdout.resume();

for (const deflate of [false, true]) {
  const client = new WebSocket(`wss://${address}/ws/a%20b?c=d`, ["chat"], { rejectUnauthorized: false, perMessageDeflate: deflate });
  client.on("error", (err) => fail(err.message));
  const waiting = [];
  const messages = [];
  client.on("message", (data, isBinary) => {
    messages.push(isBinary ? data : data.toString());
    waiting.shift()?.();
  });
  const next = async () => {
    if (messages.length === 0) await new Promise((resolve) => waiting.push(resolve));
    return messages.shift();
  };
  await once(client, "open");
  check(client.protocol === "chat", `the subprotocol is ${client.protocol}`);
  check(client.extensions.includes("permessage-deflate") === deflate, `the extensions are ${client.extensions}`);
  const first = await next();
  check(/^\/a%20b\?c=d .*\/handoff$/.test(first), `the origin was asked with ${first}`);
  client.send("grüße");
  check((await next()) === "grüße", "a text did not come back");
  for (const size of [0, 125, 126, 65536, 5_000_000]) {
    const data = randomBytes(size);
    client.send(data);
    check(data.equals(await next()), `${size} bytes did not come back`);
  }
  client.ping("are you there");
  const [pong] = await once(client, "pong");
  check(pong.toString() === "are you there", `a ping came back as ${pong}`);
  client.send("bye");
  const [code, reason] = await once(client, "close");
  check(code === 4001 && reason.toString() === "as you wish", `it ended with ${code} ${reason}`);
}
process.exitCode = 0;
server.kill();
origin.close();
console.log(`ok: ${guest}`);

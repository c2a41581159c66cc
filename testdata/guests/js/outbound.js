// Asks backends for things in all the ways that this SDK has, and tells what it saw. The path chooses:
//   /pass/REST         the client's request goes on to `origin`, the answer comes back
//   /upper/REST        so, and the answer's body in capitals, as it arrives
//   /generate?n=N      N lines of the guest's own, as they are read, are the body of a request
//   /fill?n=N          N pieces of 64 KiB are the body of one; each begins with the time when it was made
//   /flow?n=N          N such pieces are the answer
//   /half              reads a little of a long answer, then cancels it
//   /many?n=N          N requests at once, /wait?i=I each; the order in which they come back, and their sum
//   /race?n=N          so, but only the first counts
//   /impatient?ms=MS   waits for MS milliseconds, then answers in the origin's place
//   /error/NAME        what is wrong with the backend NAME
//   /dynamic           a backend of the guest's own; the body is JSON: the SDK's options, with the client certificate's key as text
//   /implicit?url=URL  no backend is named
//   /about/NAME        what the SDK tells of the backend NAME
//   /framed?n=N&of=M   N bytes, a few at a time, are sent to `origin` as M, and are the answer as well
//   /gunzip/REST       the answer, decoded
//   /hints             early hints, then an answer
//   /shield/NAME       by way of the shield NAME

import { Backend, enforceExplicitBackends } from "fastly:backend";
import { allowDynamicBackends } from "fastly:experimental";
import { SecretStore } from "fastly:secret-store";
import { Shield } from "fastly:shielding";

const encoder = new TextEncoder();

const json = (value, status = 200) => Response.json(value, { status });
const failure = (err) => json({ name: err.name, message: err.message, dom: err instanceof DOMException }, 502);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ask(path, init = {}) {
  return fetch(`http://origin.example${path}`, { backend: "origin", cacheOverride: "pass", ...init });
}

// pieces is a stream of what make gives for 0, 1, ... n-1, each made when there is room for it.
function pieces(n, make) {
  let i = 0;
  return new ReadableStream({
    async pull(controller) {
      if (i < n) controller.enqueue(await make(i++));
      else controller.close();
    },
  });
}

function large(i) {
  const piece = new Uint8Array(65536);
  piece.set(encoder.encode(`${Date.now()} `));
  return piece;
}

function about(backend) {
  let host = null;
  try {
    host = backend.hostOverride;
  } catch {
    // It has none.
  }
  return {
    name: backend.name,
    dynamic: backend.isDynamic,
    target: backend.target,
    host,
    port: backend.port,
    timeouts: [backend.connectTimeout, backend.firstByteTimeout, backend.betweenBytesTimeout],
    httpKeepalive: backend.httpKeepaliveTime,
    tcpKeepalive: backend.tcpKeepalive,
    tls: backend.isSSL,
    versions: [backend.tlsMinVersion, backend.tlsMaxVersion],
    health: backend.health(),
  };
}

async function many(n) {
  const order = [];
  const answers = await Promise.all(
    Array.from({ length: n }, async (_, i) => {
      const response = await ask(`/wait?i=${i}`);
      order.push(response.headers.get("x-i"));
      return Number(await response.text());
    }),
  );
  return json({ order: order.join(" "), sum: answers.reduce((a, b) => a + b, 0) });
}

async function respond(event) {
  const { request } = event;
  const url = new URL(request.url);
  const [, way, rest] = url.pathname.match(/^\/([^/]*)(.*)$/);
  const n = Number(url.searchParams.get("n"));
  switch (way) {
    case "pass":
      return fetch(new Request(`http://origin.example${rest}${url.search}`, request), { backend: "origin", cacheOverride: "pass" });
    case "upper": {
      const response = await ask(rest);
      const decoder = new TextDecoder();
      const upper = new TransformStream({
        transform(chunk, controller) {
          controller.enqueue(encoder.encode(decoder.decode(chunk, { stream: true }).toUpperCase()));
        },
      });
      return new Response(response.body.pipeThrough(upper), response);
    }
    case "generate": {
      const body = pieces(n, async (i) => {
        await sleep(5);
        return encoder.encode(`line ${i}\n`);
      });
      return ask("/body", { method: "PUT", body });
    }
    case "fill":
      return ask("/fill", { method: "POST", body: pieces(n, large) });
    case "flow":
      return new Response(pieces(n, large));
    case "half": {
      const reader = (await ask("/endless")).body.getReader();
      const { value } = await reader.read();
      await reader.cancel();
      return new Response(value.slice(0, 100));
    }
    case "many":
      return many(n);
    case "race": {
      const first = await Promise.race(Array.from({ length: n }, (_, i) => ask(`/wait?i=${i}`)));
      return new Response(first.headers.get("x-i"));
    }
    case "impatient": {
      const late = sleep(Number(url.searchParams.get("ms"))).then(() => new Response("too late", { status: 504 }));
      return Promise.race([ask("/wait?i=never"), late]);
    }
    case "error":
      return fetch("http://origin.example/", { backend: rest.slice(1), cacheOverride: "pass" });
    case "dynamic": {
      const options = await request.json();
      if (options.clientCertificate) {
        options.clientCertificate.key = SecretStore.fromBytes(encoder.encode(options.clientCertificate.key));
      }
      const backend = new Backend(options);
      const response = await fetch("http://origin.example/dynamic", { backend, cacheOverride: "pass" });
      return json({ status: response.status, text: await response.text(), ip: response.ip, port: response.port, about: about(backend) });
    }
    case "implicit":
      if (url.searchParams.has("forbidden")) enforceExplicitBackends();
      else allowDynamicBackends(true);
      return fetch(url.searchParams.get("url"));
    case "about": {
      const name = rest.slice(1);
      return json(Backend.exists(name) ? about(Backend.fromName(name)) : null);
    }
    case "framed": {
      const few = () => pieces(n, (i) => encoder.encode(String(i % 10)));
      const framing = { manualFramingHeaders: true, headers: { "content-length": url.searchParams.get("of") } };
      const response = await ask("/framing", { method: "POST", body: few(), ...framing });
      framing.headers["x-origin"] = await response.text();
      return new Response(few(), framing);
    }
    case "gunzip":
      return ask(rest, { fastly: { decompressGzip: true } });
    case "hints":
      event.sendEarlyHints({ link: "</style.css>; rel=preload; as=style" });
      event.sendEarlyHints([["link", "</a.js>; rel=preload"], ["link", "</b.js>; rel=preload"]]);
      return new Response("after the hints");
    case "shield": {
      const shield = new Shield(rest.slice(1));
      if (shield.runningOn()) return new Response("here");
      return fetch(request, { backend: shield.unencryptedBackend({ firstByteTimeout: 5000 }), cacheOverride: "pass" });
    }
    default:
      return new Response(null, { status: 404 });
  }
}

addEventListener("fetch", (event) => event.respondWith(respond(event).catch(failure)));

// Uses stores and lookups in all the ways that this SDK has. POST / takes an operation as JSON, {"do": "kv.get", "store": ...}; the
// answer is {"is": ...}, or {"threw": "Error: ..."}. Values go as streams through /kv/STORE/KEY: PUT stores the request's body, GET
// answers with the value, and COPY stores it under ?to=KEY, without its bytes passing through the guest's own code.

import { Acl } from "fastly:acl";
import { ConfigStore } from "fastly:config-store";
import { Device } from "fastly:device";
import { Dictionary } from "fastly:dictionary";
import { EdgeRateLimiter, PenaltyBox, RateCounter } from "fastly:edge-rate-limiter";
import { getGeolocationForIpAddress } from "fastly:geolocation";
import { KVStore } from "fastly:kv-store";
import { SecretStore } from "fastly:secret-store";

const list = (bytes) => (bytes === null ? null : Array.from(new Uint8Array(bytes)));

// The ways to give a value or metadata that the SDK takes.
const forms = {
  text: (s) => s,
  buffer: (s) => new TextEncoder().encode(s).buffer,
  view: (s) => new TextEncoder().encode(`<${s}>`).subarray(1, -1),
  response: (s) => new Response(s).body,
  parameters: (s) => new URLSearchParams([["value", s]]),
};

async function read(entry, as) {
  switch (as) {
    case "json":
      return entry.json();
    case "bytes":
      return list(await entry.arrayBuffer());
    case "stream": {
      const decoder = new TextDecoder();
      let text = "";
      for (const reader = entry.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) return text + decoder.decode();
        text += decoder.decode(value, { stream: true });
      }
    }
    default:
      return entry.text();
  }
}

const operations = {
  "kv.put": async ({ store, key, value, form = "text", metadata, metadataForm = "text", ...options }) => {
    if (metadata !== undefined) options.metadata = forms[metadataForm](metadata);
    await new KVStore(store).put(key, forms[form](value), options);
    return "stored";
  },
  "kv.get": async ({ store, key, as }) => {
    const entry = await new KVStore(store).get(key);
    if (entry === null) return null;
    const before = entry.bodyUsed;
    const value = await read(entry, as);
    return { value, used: [before, entry.bodyUsed], metadata: entry.metadataText(), bytes: list(entry.metadata()) };
  },
  "kv.twice": async ({ store, key }) => {
    const entry = await new KVStore(store).get(key);
    await entry.text();
    return entry.text();
  },
  "kv.delete": async ({ store, key }) => (await new KVStore(store).delete(key), "deleted"),
  "kv.list": async ({ store, ...options }) => new KVStore(store).list(options),
  // Page by page, to the end.
  "kv.walk": async ({ store, ...options }) => {
    const kv = new KVStore(store);
    const pages = [];
    let cursor;
    do {
      const page = await kv.list(cursor === undefined ? options : { ...options, cursor });
      pages.push(page.list.length);
      cursor = page.cursor;
    } while (cursor !== undefined);
    return pages;
  },
  // Many at once; every second key is deleted again.
  "kv.many": async ({ store, n }) => {
    const kv = new KVStore(store);
    const keys = Array.from({ length: n }, (_, i) => `many/${String(i).padStart(5, "0")}`);
    await Promise.all(keys.map((key, i) => kv.put(key, `value ${i}`)));
    await Promise.all(keys.filter((_, i) => i % 2).map((key) => kv.delete(key)));
    const entries = await Promise.all(keys.map((key) => kv.get(key)));
    const texts = await Promise.all(entries.map((entry, i) => entry?.text().then((text) => text === `value ${i}`)));
    return [texts.filter((right) => right === true).length, texts.filter((right) => right === undefined).length];
  },
  "config.get": ({ store, key }) => new ConfigStore(store).get(key),
  "dictionary.get": ({ store, key }) => new Dictionary(store).get(key),
  "secret.get": async ({ store, key }) => {
    const secret = await new SecretStore(store).get(key);
    return secret && [secret.plaintext(), list(secret.rawBytes())];
  },
  "secret.own": ({ bytes, view }) => {
    const given = new Uint8Array(bytes);
    const secret = SecretStore.fromBytes(view ? given : given.buffer);
    return [secret.plaintext(), list(secret.rawBytes())];
  },
  "acl.lookup": ({ acl, ip }) => Acl.open(acl).lookup(ip),
  "rate.increment": ({ counter, entry, delta }) => (new RateCounter(counter).increment(entry, delta), "counted"),
  "rate.rate": ({ counter, entry, window }) => new RateCounter(counter).lookupRate(entry, window),
  "rate.count": ({ counter, entry, duration }) => new RateCounter(counter).lookupCount(entry, duration),
  "box.add": ({ box, entry, ttl }) => (new PenaltyBox(box).add(entry, ttl), "added"),
  "box.has": ({ box, entry }) => new PenaltyBox(box).has(entry),
  "rate.check": ({ counter, box, entry, delta, window, limit, ttl }) =>
    new EdgeRateLimiter(new RateCounter(counter), new PenaltyBox(box)).checkRate(entry, delta, window, limit, ttl),
  geo: ({ ip }) => getGeolocationForIpAddress(ip),
  device: ({ agent }) => {
    const device = Device.lookup(agent);
    if (device === null) return null;
    const facts = { json: device.toJSON() };
    for (const name of ["name", "brand", "model", "hardwareType"]) facts[name] = device[name];
    for (const name of ["Desktop", "GameConsole", "MediaPlayer", "Mobile", "SmartTV", "Tablet", "Touchscreen", "Bot"]) {
      facts[`is${name}`] = device[`is${name}`];
    }
    return facts;
  },
};

async function stream(request, store, key, to) {
  const kv = new KVStore(store);
  if (request.method === "PUT") {
    await kv.put(key, request.body);
    return new Response("stored");
  }
  const entry = await kv.get(key);
  if (entry === null) return new Response("nothing", { status: 404 });
  if (request.method === "COPY") {
    await kv.put(to, entry.body);
    return new Response("copied");
  }
  return new Response(entry.body, { headers: { metadata: entry.metadataText() ?? "" } });
}

async function respond({ request }) {
  const url = new URL(request.url);
  try {
    const [, kind, store, ...key] = url.pathname.split("/");
    if (kind === "kv") return await stream(request, store, key.join("/"), url.searchParams.get("to"));
    const { do: operation, ...about } = await request.json();
    return Response.json({ is: await operations[operation](about) });
  } catch (err) {
    return Response.json({ threw: `${err?.name}: ${err?.message}` }, { status: 400 });
  }
}

addEventListener("fetch", (event) => event.respondWith(respond(event)));

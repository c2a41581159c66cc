// Serves further requests in the same sandbox for as long as it gets them, and says how many that were.
import { setReusableSandboxOptions } from "fastly:experimental";

setReusableSandboxOptions({ maxRequests: 0, betweenRequestTimeoutMs: 1000 });

let served = 0;

async function respond(request) {
  const { pathname } = new URL(request.url);
  const body = await request.text();
  return new Response(`${++served} ${pathname} ${body}\n`, { headers: { "x-guest": "js/reuse" } });
}

addEventListener("fetch", (event) => event.respondWith(respond(event.request)));

// Hands its client to the backend `origin`: /fanout/... by way of the GRIP proxy, all else as a WebSocket; the rest of the path is
// the origin's.

import { createFanoutHandoff } from "fastly:fanout";
import { createWebsocketHandoff } from "fastly:websocket";

addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const [, way, rest] = url.pathname.match(/^\/([^/]*)(.*)$/);
  url.pathname = rest || "/";
  const request = new Request(url, event.request);
  request.headers.set("x-edge", "js/handoff");
  const create = way === "fanout" ? createFanoutHandoff : createWebsocketHandoff;
  event.respondWith(create(request, "origin"));
});

// The smallest useful guest: one status, one header, one line of body.

import { Fastly, Headers, Response } from "@fastly/as-compute";

let headers = new Headers();
headers.set("x-guest", "assemblyscript/hello");
Fastly.respondWith(
  new Response(String.UTF8.encode("hello from assemblyscript\n"), {
    status: 200,
    headers: headers,
    url: null,
  })
);

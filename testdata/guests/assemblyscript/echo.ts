// Sends the request's header fields and body back, the body piece by piece while it still arrives. This SDK
// joins the values of a repeated name with ", ". Method and URL go into x-echo-* fields.

import { Fastly, Headers, Response } from "@fastly/as-compute";
// The SDK's entry point gives the client request as a plain Request, whose body cannot be streamed.
import { FastlyDownstreamRequest } from "@fastly/as-compute/fastly/fastly-downstream/fastly-downstream-request";

const notCopied = [
  "connection",
  "content-length",
  "expect",
  "host",
  "te",
  "trailer",
  "transfer-encoding",
];

let req = new FastlyDownstreamRequest();
let headers = new Headers();
let names = req.headers.keys();
for (let i = 0; i < names.length; i++) {
  let value = req.headers.get(names[i]);
  if (value !== null && !notCopied.includes(names[i])) {
    headers.set(names[i], value);
  }
}
headers.set("x-guest", "assemblyscript/echo");
headers.set("x-echo-method", req.method);
headers.set("x-echo-url", req.url);

let reader = req.body!.getReader()!;
let writer = Fastly.respondWithStreaming(
  new Response(null, { status: 200, headers: headers, url: null })
).getWriter()!;
let piece = reader.read();
while (!piece.done) {
  writer.write(piece.value);
  piece = reader.read();
}
writer.close();

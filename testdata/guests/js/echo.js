// Sends the request's header fields and body back, the body as a stream. Method and URL go into x-echo-* fields.

const notCopied = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "te",
  "trailer",
  "transfer-encoding",
]);

function echo(request) {
  const headers = new Headers();
  for (const [name, value] of request.headers) {
    if (!notCopied.has(name)) headers.append(name, value);
  }
  headers.set("x-guest", "js/echo");
  headers.set("x-echo-method", request.method);
  headers.set("x-echo-url", request.url);
  const status = Number(new URL(request.url).searchParams.get("status") ?? 200);
  return new Response(request.body, { status, headers });
}

addEventListener("fetch", (event) => event.respondWith(echo(event.request)));

// The smallest useful guest: one status, one header, one line of body.

addEventListener("fetch", (event) => {
  event.respondWith(
    new Response("hello from js\n", { headers: { "x-guest": "js/hello" } }),
  );
});

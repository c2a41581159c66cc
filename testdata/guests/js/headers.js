// Answers with what this SDK can tell of a request and its connection, as JSON; null where the host does not know.
// Also sets two cookies, which must arrive as two fields.

import { env } from "fastly:env";

function hex(buffer) {
  if (buffer === null || buffer === undefined) return null;
  return Array.from(new Uint8Array(buffer), (b) =>
    b.toString(16).padStart(2, "0"),
  ).join("");
}

function facts({ request, client, server }) {
  return {
    method: request.method,
    url: request.url,
    headers: Object.fromEntries(request.headers),
    client_ip: client.address,
    server_ip: server.address,
    request_id: client.requestId ?? null,
    tls: {
      protocol: client.tlsProtocol,
      cipher: client.tlsCipherOpensslName,
      client_hello: hex(client.tlsClientHello),
      client_certificate: hex(client.tlsClientCertificate),
      ja3_md5: client.tlsJA3MD5,
      ja4: client.tlsJA4 ?? null,
    },
    h2_fingerprint: client.h2Fingerprint ?? null,
    oh_fingerprint: client.ohFingerprint ?? null,
    runtime: {
      hostname: env("FASTLY_HOSTNAME"),
      service_id: env("FASTLY_SERVICE_ID"),
      sandbox_id: env("FASTLY_TRACE_ID"),
    },
  };
}

addEventListener("fetch", (event) => {
  const response = new Response(JSON.stringify(facts(event), null, 2) + "\n", {
    headers: { "content-type": "application/json", "x-guest": "js/headers" },
  });
  response.headers.append("set-cookie", "one=1");
  response.headers.append("set-cookie", "two=2");
  event.respondWith(response);
});

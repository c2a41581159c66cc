//! Answers with all that a guest can learn of a request and its connection, as JSON.
//!
//! A value that the host does not know is null, so a test can tell "unknown" from "empty".

use fastly::{compute_runtime, Error, Request, Response};
use serde_json::{json, Map};

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let mut headers = Map::new();
    for name in req.get_header_names_str() {
        headers.insert(name.to_owned(), json!(req.get_header_all_str_lossy(name)));
    }
    let facts = json!({
        "method": req.get_method_str(),
        "url": req.get_url_str(),
        "version": format!("{:?}", req.get_version()),
        "headers": headers,
        "original_header_names": req.get_original_header_names()?,
        "original_header_count": req.get_original_header_count(),
        "client_ip": req.get_client_ip_addr(),
        "server_ip": req.get_server_ip_addr(),
        "request_id": req.get_client_request_id(),
        "fastly_key_is_valid": req.fastly_key_is_valid(),
        "ddos_detected": req.get_client_ddos_detected(),
        "compliance_region": req.get_compliance_region().map(|region| region.as_ref().to_owned()),
        "h2_fingerprint": req.get_client_h2_fingerprint(),
        "oh_fingerprint": req.get_client_oh_fingerprint(),
        "tls": {
            "protocol": req.get_tls_protocol()?,
            "cipher": req.get_tls_cipher_openssl_name()?,
            "server_name": req.get_tls_client_servername(),
            "client_hello": req.get_tls_client_hello().map(hex),
            "client_certificate": req.get_tls_raw_client_certificate()?,
            "client_certificate_result": req.get_tls_client_cert_verify_result().map(|r| format!("{r:?}")),
            "ja3_md5": req.get_tls_ja3_md5().map(|digest| hex(&digest)),
            "ja4": req.get_tls_ja4(),
        },
        "runtime": {
            "hostname": compute_runtime::hostname(),
            "pop": compute_runtime::pop(),
            "region": compute_runtime::region(),
            "service_id": compute_runtime::service_id(),
            "service_version": compute_runtime::service_version(),
            "customer_id": compute_runtime::customer_id(),
            "cache_generation": compute_runtime::cache_generation(),
            "is_staging": compute_runtime::is_staging(),
            "sandbox_id": compute_runtime::sandbox_id(),
            "vcpu_ms": compute_runtime::elapsed_vcpu_ms().ok(),
            "heap_mib": compute_runtime::heap_memory_snapshot_mib().ok(),
        },
    });
    Ok(Response::from_body(format!("{facts:#}\n"))
        .with_header("content-type", "application/json")
        .with_header("x-guest", "rust/headers"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

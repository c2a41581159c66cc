//! Asks backends in ways that go wrong, or wait, and tells what it saw. The path chooses:
//!   /error/NAME      what is wrong with the backend NAME
//!   /many?n=N        N requests at once to `origin`, /wait?i=I each; in which order they come back
//!   /timeout?ms=MS   waits for an answer that does not come, MS milliseconds at most; how long that took, and computed
//!   /mtls?target=T   to a backend of its own with a client's certificate; the body holds the authority's certificate, the
//!                    client's, and its key, with `|` between
//!   /early           begins three requests and ends without looking at them
//!   /visits          how often the request has passed this service, and this POP
//!   /half            reads a little of a long answer, then drops it and answers

use fastly::handle::{BodyHandle, RequestHandle};
use fastly::http::request::{select, SendError};
use fastly::http::Url;
use fastly::secret_store::{Secret, SecretStore};
use fastly::{Backend, Error, Request, Response};
use std::io::Read;
use std::time::Instant;

#[link(wasm_import_module = "fastly_async_io")]
extern "C" {
    #[link_name = "select"]
    fn async_select(handles: *const u32, n: usize, timeout_ms: u32, index: *mut u32) -> i32;
}

#[link(wasm_import_module = "fastly_http_downstream")]
extern "C" {
    fn downstream_visits_this_service(hops: *mut u32) -> i32;
    fn downstream_visits_this_pop(hops: *mut u32) -> i32;
}

#[link(wasm_import_module = "fastly_http_req")]
extern "C" {
    fn send_async(req: u32, body: u32, backend: *const u8, backend_len: usize, pending: *mut u32) -> i32;
}

fn answer(result: Result<Response, SendError>) -> Response {
    match result {
        Ok(resp) => resp,
        Err(err) => Response::from_status(502).with_body(format!("{}", err.root_cause())),
    }
}

fn number(req: &Request, name: &str) -> u32 {
    req.get_query_parameter(name).and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[fastly::main]
fn main(mut req: Request) -> Result<Response, Error> {
    let path = req.get_path().to_owned();
    let (way, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    Ok(match way {
        "error" => answer(Request::get("http://origin.example/").send(rest)),
        "many" => {
            let mut pending = Vec::new();
            for i in 0..number(&req, "n") {
                pending.push(Request::get(format!("http://origin.example/wait?i={i}")).send_async("origin")?);
            }
            let mut order = String::new();
            while !pending.is_empty() {
                let (first, others) = select(pending);
                pending = others;
                order += first?.get_header_str("x-i").unwrap_or("?");
                order.push(' ');
            }
            Response::from_body(order)
        }
        "timeout" => {
            let (mut index, mut pending) = (0, 0);
            let (mut r, b) = (RequestHandle::new(), BodyHandle::new());
            r.set_url(&Url::parse("http://origin.example/wait?i=never")?);
            let status = unsafe { send_async(r.as_u32(), b.as_u32(), "origin".as_ptr(), 6, &mut pending) };
            std::mem::forget((r, b)); // the call has consumed them
            let cpu = fastly::compute_runtime::elapsed_vcpu_ms().unwrap_or(0);
            let start = Instant::now();
            let waited = unsafe { async_select(&pending, 1, number(&req, "ms"), &mut index) };
            let took = start.elapsed().as_micros();
            let cpu = fastly::compute_runtime::elapsed_vcpu_ms().unwrap_or(0) - cpu;
            Response::from_body(format!("{status} {waited} {index:#x} {took} {cpu}"))
        }
        "mtls" => {
            let target = req.get_query_parameter("target").unwrap_or("").to_owned();
            let text = req.take_body_str();
            let mut pems = text.split('|');
            let ca = pems.next().unwrap_or("");
            let mut backend = Backend::builder("mine", target).enable_ssl().check_certificate("origin.example")
                .sni_hostname("origin.example").ca_certificate(ca);
            if let (Some(cert), Some(key)) = (pems.next(), pems.next()) {
                let key = match key.split_once('/') {
                    Some((store, name)) if !key.starts_with('-') => SecretStore::open(store)?.get(name).unwrap(),
                    _ => Secret::from_bytes(key.as_bytes().to_vec()).unwrap(),
                };
                backend = backend.provide_client_certificate(cert, key);
            }
            match backend.finish() {
                Ok(backend) => answer(Request::get("http://origin.example/").send(backend)),
                Err(err) => Response::from_status(500).with_body(format!("{err}")),
            }
        }
        "early" => {
            for i in 0..3 {
                let _ = Request::get(format!("http://origin.example/wait?i=early{i}")).send_async("origin")?;
            }
            Response::from_body("done")
        }
        "visits" => {
            let (mut service, mut pop) = (0, 0);
            let status = unsafe { downstream_visits_this_service(&mut service) + downstream_visits_this_pop(&mut pop) };
            Response::from_body(format!("{status} {service} {pop}"))
        }
        "half" => {
            let mut body = Request::get("http://origin.example/endless").send("origin")?.into_body();
            let mut some = [0u8; 100];
            body.read_exact(&mut some)?;
            drop(body);
            Response::from_body(some.to_vec())
        }
        "send" => {
            req.set_path(&format!("/{rest}"));
            answer(req.send("origin"))
        }
        _ => Response::from_status(404),
    })
}

//! Sends the request back: its header fields (each value of each name), then its body piece by piece while
//! it still arrives, then its trailers.
//!
//! Fields that describe the connection or the framing of the request are left out; facts about the request
//! go into x-echo-* fields. Paths:
//!   /append   the body is moved into the response by the host, without passing through the guest
//!   others    the body passes through the guest in pieces of at most 16 KiB
//! The status is 200, or the number in the query parameter `status`.

use fastly::experimental::{BodyExt, StreamingBodyExt};
use fastly::{Error, Request, Response};
use std::io::{Read, Write};

const PIECE: usize = 16 * 1024;
const NOT_COPIED: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
];

fn main() -> Result<(), Error> {
    fastly::init();
    let mut req = Request::from_client();
    let mut body = req.take_body();
    let mut resp = Response::new();
    if let Some(status) = req.get_query_parameter("status") {
        resp.set_status(status.parse::<u16>()?);
    }
    for (name, value) in req.get_headers() {
        if !NOT_COPIED.contains(&name.as_str()) {
            resp.append_header(name, value);
        }
    }
    resp.set_header("x-guest", "rust/echo");
    resp.set_header("x-echo-method", req.get_method_str());
    resp.set_header("x-echo-url", req.get_url_str());
    resp.set_header("x-echo-version", format!("{:?}", req.get_version()));
    resp.set_header(
        "x-echo-known-length",
        match body.known_length() {
            Some(n) => n.to_string(),
            None => "unknown".to_owned(),
        },
    );

    let mut out = resp.stream_to_client();
    if req.get_path() == "/append" {
        out.append(body);
        out.finish()?;
        return Ok(());
    }
    let mut piece = vec![0; PIECE];
    loop {
        let n = body.read(&mut piece)?;
        if n == 0 {
            break;
        }
        out.write_all(&piece[..n])?;
        out.flush()?;
    }
    out.finish_with_trailers(&body.get_trailers()?)?;
    Ok(())
}

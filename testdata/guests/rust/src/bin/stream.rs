//! Streams a response, in a way that the path chooses:
//!   /pieces     `n` lines (default 3) of the body, each sent on its own, `ms` milliseconds (default 10) apart
//!   /abandon    two lines, then the body is given up: the client must see a broken message
//!   /drop       two lines, then the guest returns without finishing the body: also broken
//!   /infinite   lines without end, until the host or the client stops it
//!   /size       `n` bytes in pieces of 64 KiB, as fast as they are taken
//!   /trailers   one line, then two trailers, one of them with two values

use fastly::experimental::StreamingBodyExt;
use fastly::{Error, Request, Response};
use std::io::Write;
use std::time::Duration;

fn main() -> Result<(), Error> {
    fastly::init();
    let req = Request::from_client();
    let number = |name: &str, default: u64| -> Result<u64, Error> {
        match req.get_query_parameter(name) {
            Some(text) => Ok(text.parse()?),
            None => Ok(default),
        }
    };
    let mut out = Response::new()
        .with_header("content-type", "text/plain")
        .with_header("x-guest", "rust/stream")
        .stream_to_client();
    match req.get_path() {
        "/pieces" => {
            let (n, ms) = (number("n", 3)?, number("ms", 10)?);
            for i in 1..=n {
                writeln!(out, "piece {i}")?;
                out.flush()?;
                if i < n {
                    std::thread::sleep(Duration::from_millis(ms));
                }
            }
            out.finish()?;
        }
        "/abandon" => {
            out.write_all(b"piece 1\n")?;
            out.flush()?;
            out.write_all(b"piece 2\n")?;
            out.abandon()?;
        }
        "/drop" => {
            out.write_all(b"piece 1\n")?;
            out.flush()?;
            out.write_all(b"piece 2\n")?;
            out.flush()?;
            drop(out);
        }
        "/infinite" => loop {
            out.write_all(b"and another line of the same length\n")?;
            out.flush()?;
        },
        "/size" => {
            let piece = [b'x'; 64 * 1024];
            let mut left = number("n", 1024)? as usize;
            while left > 0 {
                let n = left.min(piece.len());
                out.write_all(&piece[..n])?;
                left -= n;
            }
            out.finish()?;
        }
        "/trailers" => {
            out.write_all(b"with trailers\n")?;
            out.append_trailer("x-one", "1");
            out.append_trailer("x-two", "first");
            out.append_trailer("x-two", "second");
            out.finish()?;
        }
        _ => out.finish()?,
    }
    Ok(())
}

//! Uses up what a host must bound, as the path chooses. A `?head` query sends the response head first.
//!   /spin      computes for ever
//!   /memory    allocates and touches memory until it is refused, then traps
//!   /recurse   calls itself until the stack is gone
//!   /sleep     sleeps for `ms` milliseconds (default an hour), then answers
//!   /log       logs without end
//!   /memory-ok allocates and touches `mib` MiB (default 16), then answers

use fastly::log::Endpoint;
use fastly::{Error, Request, Response};
use std::hint::black_box;
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
    if req.get_query_parameter("head").is_some() {
        let mut out = Response::new().stream_to_client();
        out.write_all(b"the head is out\n")?;
        out.flush()?;
        misbehave(req.get_path(), &number)?;
        out.finish()?;
    } else {
        misbehave(req.get_path(), &number)?;
        Response::from_body("survived\n").send_to_client();
    }
    Ok(())
}

fn misbehave(path: &str, number: &dyn Fn(&str, u64) -> Result<u64, Error>) -> Result<(), Error> {
    match path {
        "/spin" => {
            let mut turns = 0u64;
            loop {
                turns = black_box(turns.wrapping_add(1));
            }
        }
        "/memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1u8; 1 << 20]);
                black_box(&hoard);
            }
        }
        "/memory-ok" => {
            let bytes = (number("mib", 16)? as usize) << 20;
            black_box(vec![1u8; bytes]);
        }
        "/recurse" => {
            black_box(recurse(1));
        }
        "/sleep" => std::thread::sleep(Duration::from_millis(number("ms", 3_600_000)?)),
        "/log" => {
            let mut log = Endpoint::from_name("flood");
            loop {
                log.write_all(b"one more line of a log that never ends\n")?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(black_box(depth + 1)) + frame[(depth % 16) as usize]
}

//! Writes to everything that a guest can log to, then answers.
//!
//! Endpoints `access` and `audit`, standard output and standard error get one line each that names the
//! path. `access` then gets lines that a host must take care with: two lines in one write, an empty write,
//! a line that is not UTF-8. The answer names the endpoint names that are refused. Each line is put together
//! first, because an endpoint takes each write as a message of its own.

use fastly::log::Endpoint;
use fastly::{Error, Request, Response};
use std::io::Write;

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let path = req.get_path();
    let mut access = Endpoint::from_name("access");
    access.write_all(format!("access: {path}\n").as_bytes())?;
    access.write_all(b"first line\nsecond line\n")?;
    access.write_all(b"")?;
    access.write_all(b"not utf-8: \xff\xfe")?;
    let mut audit = Endpoint::from_name("audit");
    audit.write_all(format!("audit: {path}").as_bytes())?;
    println!("stdout: {path}");
    eprintln!("stderr: {path}");

    let long = "n".repeat(100_000);
    let mut refused = String::new();
    for name in ["stdout", "stderr", "", "with:colon", "with\nnewline", long.as_str()] {
        if let Err(err) = Endpoint::try_from_name(name) {
            let shown: String = name.escape_debug().take(16).collect();
            refused += &format!("{shown:?}: {err:?}\n");
        }
    }
    Ok(Response::from_body(refused).with_header("x-guest", "rust/logging"))
}

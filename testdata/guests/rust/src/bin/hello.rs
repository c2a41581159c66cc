//! The smallest useful guest: one status, one header, one line of body.

use fastly::{Error, Request, Response};

#[fastly::main]
fn main(_req: Request) -> Result<Response, Error> {
    Ok(Response::from_body("hello from rust\n").with_header("x-guest", "rust/hello"))
}

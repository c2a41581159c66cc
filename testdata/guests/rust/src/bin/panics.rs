//! Ends badly, at a moment that the path chooses:
//!   /before       panics before any response
//!   /after-head   panics after the head and a first piece of the body have gone out
//!   /after-body   panics after a complete response
//!   /exit         exits with the status in the query parameter `code`, without a response
//!   /error        returns an error from main, which the SDK turns into a 500 of its own
//!   others        do not panic

use fastly::{Error, Request, Response};
use std::io::Write;

fn main() -> Result<(), Error> {
    fastly::init();
    let req = Request::from_client();
    match req.get_path() {
        "/before" => panic!("panics: before the head"),
        "/after-head" => {
            let mut out = Response::new().stream_to_client();
            out.write_all(b"a first piece\n")?;
            out.flush()?;
            panic!("panics: after the head");
        }
        "/after-body" => {
            Response::from_body("complete\n").send_to_client();
            panic!("panics: after the body");
        }
        "/exit" => {
            let code = req.get_query_parameter("code").unwrap_or("1");
            std::process::exit(code.parse()?);
        }
        "/error" => Err(Error::msg("panics: an error from main")),
        _ => {
            Response::from_body("no panic\n").send_to_client();
            Ok(())
        }
    }
}

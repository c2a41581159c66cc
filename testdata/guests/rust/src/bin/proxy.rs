//! Sends requests to backends, in a way that the path chooses; the rest of the path is the origin's.
//!   /send/...    the client's request goes on to `origin`, the answer comes back, both as streams
//!   /async/...   two requests at once; the answer is that of the first to come
//!   /build/...   a request of the guest's own with a streamed body
//!   /dynamic/... to a backend that the guest defines, `?target=host:port`
//!   /error/...   to the backend `closed`, to tell what went wrong

use fastly::http::request::{select, SendErrorCause};
use fastly::{Backend, Error, Request, Response};
use std::io::Write;
use std::time::Duration;

#[fastly::main]
fn main(mut req: Request) -> Result<Response, Error> {
    let path = req.get_path().to_owned();
    let (way, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let rest = format!("/{rest}");
    let answer = match way {
        "send" => {
            req.set_path(&rest);
            req.send("origin")?
        }
        "async" => {
            let pending = vec![
                Request::get("http://origin.example/slow").send_async("origin")?,
                Request::get(format!("http://origin.example{rest}")).send_async("origin")?,
            ];
            let (first, _) = select(pending);
            first?
        }
        "build" => {
            let (mut body, pending) = Request::post(format!("http://origin.example{rest}"))
                .with_header("x-own", "1")
                .send_async_streaming("origin")?;
            for i in 0..3 {
                writeln!(body, "line {i}")?;
            }
            body.finish()?;
            pending.wait()?
        }
        "dynamic" => {
            let target = req.get_query_parameter("target").unwrap_or("").to_owned();
            let backend = Backend::builder("mine", target)
                .override_host("dynamic.example")
                .connect_timeout(Duration::from_secs(2))
                .finish()?;
            Request::get(format!("http://origin.example{rest}")).send(backend)?
        }
        "error" => match Request::get("http://origin.example/").send("closed") {
            Err(err) if matches!(err.root_cause(), SendErrorCause::ConnectionRefused) => {
                Response::from_status(502).with_body("connection refused")
            }
            _ => Response::from_status(500),
        },
        _ => Response::from_status(404),
    };
    Ok(answer.with_header("x-guest", "rust/proxy"))
}

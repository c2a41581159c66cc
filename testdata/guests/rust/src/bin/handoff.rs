//! Hands its client to backends, in a way that the first part of the path chooses; the rest of the path is the origin's.
//!   /ws/...      to `origin`, as a WebSocket if it is one, with a field of the guest's own
//!   /fanout/...  by way of the GRIP proxy, for the backend `origin`
//!   /legacy/...  as the first SDKs did: the request as it came, whatever the guest does to it
//!   /dynamic/... to a backend that the guest defines, `?target=host:port`
//!   /linger/...  goes on for a while afterwards, and says so in the log endpoint `after`
//!   /unknown     to a backend that does not exist, and tells what happened
//!   /twice/...   tries again afterwards, and says in the log endpoint `after` what happened
//!   /late        answers first, and says in the log endpoint `after` what happened then
//!   /no          answers by itself

use fastly::handle::{BodyHandle, RequestHandle, ResponseHandle};
use fastly::http::StatusCode;
use fastly::log::Endpoint;
use fastly::{Backend, Error, Request, Response};
use std::io::Write;
use std::time::Duration;

#[link(wasm_import_module = "fastly_http_req")]
extern "C" {
    fn redirect_to_websocket_proxy(backend: *const u8, backend_len: usize) -> i32;
}

fn main() -> Result<(), Error> {
    let mut req = Request::from_client();
    let path = req.get_path().to_owned();
    let (way, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let rest = format!("/{rest}");
    match way {
        "legacy" => {
            req.set_path("/changed");
            req.set_header("x-edge", "changed");
            let status = unsafe { redirect_to_websocket_proxy(b"origin".as_ptr(), 6) };
            assert_eq!(status, 0);
        }
        "unknown" => match RequestHandle::new().handoff_websocket("nowhere") {
            Err(cause) => Response::from_status(502).with_body(format!("{cause}")).send_to_client(),
            Ok(()) => panic!("handed off to nowhere"),
        },
        "late" => {
            ResponseHandle::new().send_to_client(BodyHandle::new());
            report(RequestHandle::new().handoff_websocket("origin").is_err());
        }
        "twice" => {
            let mut handle = RequestHandle::new();
            handle.set_url(&fastly::http::Url::parse(&format!("http://edge.example{rest}"))?);
            handle.handoff_websocket("origin")?;
            report(handle.handoff_websocket("origin").is_err() && handle.handoff_fanout("origin").is_err());
        }
        "no" => Response::from_status(StatusCode::OK).with_body("no WebSocket here\n").send_to_client(),
        _ => {
            req.set_path(&rest);
            req.set_header("x-edge", "rust/handoff");
            req.set_header("host", "protected.example");
            match way {
                "fanout" => req.handoff_fanout("origin")?,
                "dynamic" => {
                    let target = req.get_query_parameter("target").unwrap_or("").to_owned();
                    let backend = Backend::builder("mine", target).enable_pooling(false).finish()?;
                    req.handoff_websocket(backend.name())?
                }
                "linger" => {
                    req.handoff_websocket("origin")?;
                    std::thread::sleep(Duration::from_millis(300));
                    report(true);
                }
                _ => req.handoff_websocket("origin")?,
            }
        }
    }
    Ok(())
}

/// Says in the log whether something was as it should be.
fn report(right: bool) {
    writeln!(Endpoint::from_name("after"), "{}", if right { "as expected" } else { "wrong" }).unwrap();
}

//! Serves several requests with one sandbox: what it counts in memory is there for the next one.

use fastly::http::serve::Serve;
use fastly::{Request, Response};
use std::time::Duration;

fn main() {
    let mut served = 0u32;
    let summary = Serve::new()
        .with_max_requests(1000)
        .with_timeout(Duration::from_millis(300))
        .run(|mut req: Request| -> Response {
            served += 1;
            if req.get_path() == "/trap" {
                panic!("as asked");
            }
            while req.get_path() == "/burn" {}
            let body = req.take_body_str();
            Response::from_body(format!("{} {} {}\n", served, req.get_path(), body))
                .with_header("x-served", served.to_string())
        });
    println!("served {}", summary.requests());
}

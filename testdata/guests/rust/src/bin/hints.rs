//! Sends early hints (status 103) before the answer: as many as the query parameter `n` says, 2 by default.

use fastly::{Error, Request, Response};

fn main() -> Result<(), Error> {
    fastly::init();
    let req = Request::from_client();
    let n = req.get_query_parameter("n").unwrap_or("2").parse::<u32>()?;
    for i in 1..=n {
        Response::from_status(103)
            .with_header("link", format!("</style-{i}.css>; rel=preload; as=style"))
            .with_header("x-hint", i.to_string())
            .send_to_client();
    }
    Response::from_body("the answer\n")
        .with_header("x-guest", "rust/hints")
        .with_header("x-hints-sent", n.to_string())
        .send_to_client();
    Ok(())
}

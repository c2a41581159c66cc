//! Sends the request through the shield that the path names, /plain/NAME or /tls/NAME, unless it runs there itself.

use fastly::shielding::Shield;
use fastly::{Error, Request, Response};

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let path = req.get_path().to_string();
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let (kind, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let shield = match Shield::new(name) {
        Ok(shield) => shield,
        Err(status) => return Ok(Response::from_status(404).with_body(format!("{status:?}\n"))),
    };
    if shield.running_on() {
        return Ok(Response::from_body("here\n"));
    }
    let backend = if kind == "tls" {
        shield.encrypted_backend()
    } else {
        shield.unencrypted_backend()
    };
    match backend {
        Ok(backend) => Ok(req.send(backend)?),
        Err(status) => Ok(Response::from_status(502).with_body(format!("{status:?}\n"))),
    }
}

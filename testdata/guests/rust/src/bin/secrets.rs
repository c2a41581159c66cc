//! Looks a secret up: /STORE/NAME. What it does with it else is in the query: ?contains, ?panic, ?trap, ?spin after it has
//! the plaintext. /own makes a secret of its own from the request's body.
//!
//! 200 with the plaintext; 404 with `no such secret` or `no such store`; 400 with what the SDK made of the host's answer.

use fastly::secret_store::{OpenError, Secret, SecretStore};
use fastly::{Error, Request, Response};

#[fastly::main]
fn main(mut req: Request) -> Result<Response, Error> {
    let path = req.get_path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let what = req.get_query_str().unwrap_or("").to_owned();
    let answer = match parts[..] {
        ["own"] => match Secret::from_bytes(req.take_body_bytes()) {
            Ok(secret) => (200, secret.plaintext().to_vec()),
            Err(status) => (400, format!("{status:?}").into_bytes()),
        },
        [store, name] => look_up(store, name, &what),
        _ => (400, b"want /STORE/NAME or /own".to_vec()),
    };
    Ok(Response::from_status(answer.0)
        .with_body(answer.1)
        .with_header("x-guest", "rust/secrets"))
}

fn look_up(store: &str, name: &str, what: &str) -> (u16, Vec<u8>) {
    let store = match SecretStore::open(store) {
        Ok(store) => store,
        Err(OpenError::SecretStoreDoesNotExist(_)) => return (404, b"no such store".to_vec()),
        Err(err) => return (400, format!("{err:?}").into_bytes()),
    };
    if what == "contains" {
        return match store.contains(name) {
            Ok(yes) => (200, yes.to_string().into_bytes()),
            Err(err) => (400, format!("{err:?}").into_bytes()),
        };
    }
    let secret = match store.try_get(name) {
        Ok(Some(secret)) => secret,
        Ok(None) => return (404, b"no such secret".to_vec()),
        Err(err) => return (400, format!("{err:?}").into_bytes()),
    };
    let plaintext = match secret.try_plaintext() {
        Ok(plaintext) => plaintext,
        Err(err) => return (400, format!("{err:?}").into_bytes()),
    };
    match what {
        "panic" => panic!("with a secret of {} bytes in hand", plaintext.len()),
        "trap" => core::arch::wasm32::unreachable(),
        "spin" => loop {
            std::hint::black_box(&plaintext);
        },
        _ => (200, plaintext.to_vec()),
    }
}

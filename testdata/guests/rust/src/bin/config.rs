//! Looks a key up in a config store, or through the older dictionary API: /STORE/KEY or /dictionary/STORE/KEY.
//!
//! 200 with the value; 404 with `no such key` or `no such store`; 400 with what the SDK made of the host's answer.

use fastly::config_store::{ConfigStore, OpenError};
use fastly::{Error, Request, Response};

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let parts: Vec<&str> = req.get_path().trim_start_matches('/').split('/').collect();
    let answer = match parts[..] {
        ["dictionary", store, key] => from_dictionary(store, key),
        [store, key] => from_config_store(store, key),
        _ => (400, "want /STORE/KEY or /dictionary/STORE/KEY".to_owned()),
    };
    Ok(Response::from_status(answer.0)
        .with_body(answer.1 + "\n")
        .with_header("x-guest", "rust/config"))
}

fn from_config_store(store: &str, key: &str) -> (u16, String) {
    match ConfigStore::try_open(store) {
        Ok(store) => match store.try_get(key) {
            Ok(Some(value)) => (200, value),
            Ok(None) => (404, "no such key".to_owned()),
            Err(err) => (400, format!("{err:?}")),
        },
        Err(OpenError::ConfigStoreDoesNotExist) => (404, "no such store".to_owned()),
        Err(err) => (400, format!("{err:?}")),
    }
}

#[allow(deprecated)]
fn from_dictionary(dictionary: &str, key: &str) -> (u16, String) {
    use fastly::dictionary::{Dictionary, OpenError};
    match Dictionary::try_open(dictionary) {
        Ok(dictionary) => match dictionary.try_get(key) {
            Ok(Some(value)) => (200, value),
            Ok(None) => (404, "no such key".to_owned()),
            Err(err) => (400, format!("{err:?}")),
        },
        Err(OpenError::DictionaryDoesNotExist) => (404, "no such store".to_owned()),
        Err(err) => (400, format!("{err:?}")),
    }
}

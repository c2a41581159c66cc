//! Uses a KV store in every way the SDK has, and in the older ways of fastly_object_store. The path says what to do, `?store=NAME`
//! with which store (`shop` by default):
//!   GET /item/KEY      the value; fields generation and metadata
//!   PUT /item/KEY      stores the body while it still arrives; ?mode=add|append|prepend, metadata, ttl, generation, background
//!   DELETE /item/KEY
//!   /list              one page: keys, cursor, limit; ?prefix, limit, cursor, eventual
//!   /pages             all pages: how many keys each has; ?prefix, limit, eventual
//!   /fill?n=N          stores N keys, 100 at a time
//!   /async?n=N         N inserts, then N lookups, a list and N deletes under way at once, waited for in the opposite order
//!   /gets/KEY?n=N      looks a key up N times, for benchmarks
//!   /select            what fastly_async_io makes of pending operations
//!   /copy/FROM?to=TO   a value becomes another key's, with text before and after it, without passing through the guest
//!   /fetch/KEY         stores what the backend `origin` answers
//!   /leave/KEY         stores the body without waiting, and ends
//!   /legacy/KEY        inserts, looks up and deletes through fastly_object_store
//! As a command it takes the path as its argument. A refusal gives a status and the SDK's words.

use fastly::handle::{BodyHandle, RequestHandle};
use fastly::http::{Method, StatusCode};
use fastly::kv_store::{InsertMode, KVStore, KVStoreError, ListMode, ListPage};
use fastly::{Body, Error, Request, Response};
use std::io::Write;
use std::time::Duration;

#[link(wasm_import_module = "fastly_async_io")]
extern "C" {
    #[link_name = "select"]
    fn async_select(handles: *const u32, n: usize, timeout_ms: u32, index: *mut u32) -> i32;
    fn is_ready(handle: u32, ready: *mut u32) -> i32;
}

#[link(wasm_import_module = "fastly_http_req")]
extern "C" {
    fn send(req: u32, body: u32, backend: *const u8, len: usize, resp: *mut u32, got: *mut u32) -> i32;
}

mod legacy {
    #[link(wasm_import_module = "fastly_object_store")]
    extern "C" {
        pub fn open(name: *const u8, len: usize, store: *mut u32) -> i32;
        pub fn lookup(store: u32, key: *const u8, len: usize, body: *mut u32) -> i32;
        pub fn lookup_async(store: u32, key: *const u8, len: usize, pending: *mut u32) -> i32;
        pub fn pending_lookup_wait(pending: u32, body: *mut u32) -> i32;
        pub fn insert(store: u32, key: *const u8, len: usize, body: u32) -> i32;
        pub fn insert_async(store: u32, key: *const u8, len: usize, body: u32, pending: *mut u32) -> i32;
        pub fn pending_insert_wait(pending: u32) -> i32;
        pub fn delete_async(store: u32, key: *const u8, len: usize, pending: *mut u32) -> i32;
        pub fn pending_delete_wait(pending: u32) -> i32;
    }
}

fn number<T: std::str::FromStr>(req: &Request, name: &str) -> Option<T> {
    req.get_query_parameter(name).and_then(|v| v.parse().ok())
}

fn refusal(err: KVStoreError) -> Response {
    let status = match err {
        KVStoreError::ItemNotFound | KVStoreError::StoreNotFound(_) => StatusCode::NOT_FOUND,
        KVStoreError::ItemPreconditionFailed => StatusCode::PRECONDITION_FAILED,
        KVStoreError::ItemPayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        KVStoreError::ItemBadRequest | KVStoreError::InvalidKey => StatusCode::BAD_REQUEST,
        KVStoreError::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Response::from_status(status).with_body(format!("{err}"))
}

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| req.get_path().to_owned());
    let (way, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    let name = req.get_query_parameter("store").unwrap_or("shop").to_owned();
    let answer = match KVStore::open(&name) {
        Ok(Some(store)) => match way {
            "item" => item(&store, key, req),
            "list" => list(&store, &req),
            "pages" => pages(&store, &req),
            "fill" => fill(&store, number(&req, "n").unwrap_or(0)),
            "async" => at_once(&store, number(&req, "n").unwrap_or(0)),
            "gets" => gets(&store, key, number(&req, "n").unwrap_or(0)),
            "select" => select(&store),
            "copy" => copy(&store, key, req.get_query_parameter("to").unwrap_or("")),
            "fetch" => fetch(&store, key),
            "leave" => leave(&store, key, req),
            "legacy" => Ok(Response::from_body(through_object_store(&name, key))),
            _ => Ok(Response::from_status(400).with_body("what?")),
        },
        Ok(None) => Ok(Response::from_status(404).with_body("none")),
        Err(err) => Err(err),
    };
    Ok(answer.unwrap_or_else(refusal))
}

fn item(store: &KVStore, key: &str, mut req: Request) -> Result<Response, KVStoreError> {
    match *req.get_method() {
        Method::PUT => {
            let mut insert = store.build_insert().mode(match req.get_query_parameter("mode") {
                Some("add") => InsertMode::Add,
                Some("append") => InsertMode::Append,
                Some("prepend") => InsertMode::Prepend,
                _ => InsertMode::Overwrite,
            });
            if let Some(metadata) = req.get_query_parameter("metadata") {
                insert = insert.metadata(metadata);
            }
            if let Some(ttl) = number(&req, "ttl") {
                insert = insert.time_to_live(Duration::from_secs(ttl));
            }
            if let Some(generation) = number(&req, "generation") {
                insert = insert.if_generation_match(generation);
            }
            if req.get_query_parameter("background").is_some() {
                insert = insert.background_fetch();
            }
            insert.execute(key, req.take_body())?;
            Ok(Response::from_body("stored"))
        }
        Method::DELETE => {
            store.delete(key)?;
            Ok(Response::from_body("deleted"))
        }
        _ => {
            let mut found = store.lookup(key)?;
            let mut resp = Response::from_body(found.take_body())
                .with_header("generation", found.current_generation().to_string());
            if let Some(metadata) = found.metadata() {
                resp.set_header("metadata", &metadata[..]);
            }
            Ok(resp)
        }
    }
}

fn list(store: &KVStore, req: &Request) -> Result<Response, KVStoreError> {
    let mut list = store.build_list();
    if let Some(prefix) = req.get_query_parameter("prefix") {
        list = list.prefix(prefix);
    }
    if let Some(limit) = number(req, "limit") {
        list = list.limit(limit);
    }
    if let Some(cursor) = req.get_query_parameter("cursor") {
        list = list.cursor(cursor);
    }
    if req.get_query_parameter("eventual").is_some() {
        list = list.eventual_consistency();
    }
    let page: ListPage = list.execute()?;
    Ok(Response::from_body(page.keys().join("\n"))
        .with_header("cursor", page.next_cursor().unwrap_or_default())
        .with_header("limit", page.limit().to_string())
        .with_header("prefix", page.prefix().unwrap_or_default())
        .with_header("eventual", matches!(page.mode(), ListMode::Eventual).to_string()))
}

fn pages(store: &KVStore, req: &Request) -> Result<Response, KVStoreError> {
    let mut list = store.build_list();
    if let Some(prefix) = req.get_query_parameter("prefix") {
        list = list.prefix(prefix);
    }
    if let Some(limit) = number(req, "limit") {
        list = list.limit(limit);
    }
    if req.get_query_parameter("eventual").is_some() {
        list = list.eventual_consistency();
    }
    let mut sizes = String::new();
    let mut last = String::new();
    for page in list.iter() {
        let page = page?;
        for key in page.keys() {
            if *key <= last {
                return Ok(Response::from_status(500).with_body(format!("{key} after {last}")));
            }
            last = key.to_owned();
        }
        sizes += &format!("{} ", page.keys().len());
    }
    Ok(Response::from_body(sizes))
}

fn fill(store: &KVStore, n: u32) -> Result<Response, KVStoreError> {
    let mut pending = Vec::new();
    for i in 0..n {
        pending.push(store.build_insert().execute_async(&format!("key/{i:05}"), format!("value {i}"))?);
        if pending.len() == 100 || i == n - 1 {
            for p in pending.drain(..) {
                store.pending_insert_wait(p)?;
            }
        }
    }
    Ok(Response::from_body(n.to_string()))
}

fn at_once(store: &KVStore, n: u32) -> Result<Response, KVStoreError> {
    let key = |i: u32| format!("async/{i}");
    let inserts: Vec<_> = (0..n).map(|i| store.build_insert().execute_async(&key(i), format!("{i} "))).collect();
    for insert in inserts.into_iter().rev() {
        store.pending_insert_wait(insert?)?;
    }
    let lookups: Vec<_> = (0..n).map(|i| store.build_lookup().execute_async(&key(i))).collect();
    let list = store.build_list().prefix("async/").execute_async()?;
    let mut found = String::new();
    for lookup in lookups.into_iter().rev() {
        found += &store.pending_lookup_wait(lookup?)?.take_body().into_string();
    }
    found += &format!("of {}", store.pending_list_wait(list)?.keys().len());
    let deletes: Vec<_> = (0..n).map(|i| store.build_delete().execute_async(&key(i))).collect();
    for delete in deletes.into_iter().rev() {
        store.pending_delete_wait(delete?)?;
    }
    Ok(Response::from_body(found))
}

fn gets(store: &KVStore, key: &str, n: u32) -> Result<Response, KVStoreError> {
    for _ in 0..n {
        store.lookup(key)?;
    }
    Ok(Response::from_body(n.to_string()))
}

fn select(store: &KVStore) -> Result<Response, KVStoreError> {
    let insert = store.build_insert().execute_async("selected", "value")?;
    let (mut index, mut ready) = (7, 7);
    let first = unsafe { async_select(&insert.as_u32(), 1, 0, &mut index) };
    store.pending_insert_wait(insert)?;
    let lookup = store.build_lookup().execute_async("selected")?;
    let list = store.build_list().execute_async()?;
    let mut left = vec![lookup.as_u32(), list.as_u32()];
    let mut statuses = vec![first];
    while !left.is_empty() {
        statuses.push(unsafe { async_select(left.as_ptr(), left.len(), 10_000, &mut index) });
        let handle = left.remove(index as usize);
        statuses.push(unsafe { is_ready(handle, &mut ready) });
        if ready != 1 {
            statuses.push(-1);
        }
    }
    let found = store.pending_lookup_wait(lookup)?.take_body().into_string();
    let keys = store.pending_list_wait(list)?.into_keys();
    Ok(Response::from_body(format!("{statuses:?} {found} {}", keys.contains(&"selected".to_owned()))))
}

fn copy(store: &KVStore, from: &str, to: &str) -> Result<Response, KVStoreError> {
    let mut body = Body::from("<");
    body.append(store.lookup(from)?.take_body());
    body.append(Body::from(">"));
    store.insert(to, body)?;
    Ok(Response::from_body("copied"))
}

fn fetch(store: &KVStore, key: &str) -> Result<Response, KVStoreError> {
    // The SDK's own way to send would make this program a third larger.
    let (req, body) = (RequestHandle::new(), BodyHandle::new());
    let (mut resp, mut got) = (0, 0);
    let status = unsafe { send(req.as_u32(), body.as_u32(), "origin".as_ptr(), 6, &mut resp, &mut got) };
    std::mem::forget((req, body)); // the call has consumed them
    if status != 0 {
        return Ok(Response::from_status(502).with_body(status.to_string()));
    }
    store.insert(key, Body::from(unsafe { BodyHandle::from_u32(got) }))?;
    Ok(Response::from_body("stored"))
}

fn leave(store: &KVStore, key: &str, mut req: Request) -> Result<Response, KVStoreError> {
    let body = req.take_body();
    store.build_insert().execute_async(key, body)?;
    Ok(Response::from_body("under way"))
}

/// The statuses of one call after the other, and what was found.
fn through_object_store(name: &str, key: &str) -> String {
    let (k, n) = (key.as_ptr(), key.len());
    let value = |text: &str| {
        let mut body = BodyHandle::new();
        let _ = body.write_all(text.as_bytes());
        body.into_u32()
    };
    let text = |body: u32| match body {
        0xFFFF_FFFE => "nothing".to_owned(),
        _ => Body::from(unsafe { BodyHandle::from_u32(body) }).into_string(),
    };
    let (mut store, mut pending, mut body) = (0, 0, 0);
    let mut said = Vec::new();
    unsafe {
        said.push(legacy::open("nowhere".as_ptr(), 7, &mut store).to_string());
        said.push(legacy::open(name.as_ptr(), name.len(), &mut store).to_string());
        said.push(legacy::lookup(store, k, n, &mut body).to_string());
        said.push(text(body));
        said.push(legacy::insert(store, k, n, value("first")).to_string());
        said.push(legacy::lookup(store, k, n, &mut body).to_string());
        said.push(text(body));
        said.push(legacy::insert_async(store, k, n, value("second"), &mut pending).to_string());
        said.push(legacy::pending_insert_wait(pending).to_string());
        said.push(legacy::lookup_async(store, k, n, &mut pending).to_string());
        said.push(legacy::pending_lookup_wait(pending, &mut body).to_string());
        said.push(text(body));
        for _ in 0..2 {
            said.push(legacy::delete_async(store, k, n, &mut pending).to_string());
            said.push(legacy::pending_delete_wait(pending).to_string());
        }
        said.push(legacy::pending_delete_wait(pending).to_string());
        said.push(legacy::lookup_async(store, k, n, &mut pending).to_string());
        said.push(legacy::pending_lookup_wait(pending, &mut body).to_string());
        said.push(text(body));
    }
    said.join(" ")
}

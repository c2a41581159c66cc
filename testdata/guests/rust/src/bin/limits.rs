//! Who may come, and how often: access control lists and edge rate limiting.
//!
//! /acl/NAME?ip=IP looks an address up, the client's own without ip. /check, /increment, /rate, /count, /penalise and /penalised
//! do what they are called, with the query's counter, box, entry, delta, window, limit, duration and ttl (seconds).
//! 200 with the value; 404 for an ACL that is not there; 400 with what the SDK made of the host's answer.

use fastly::acl::{Acl, MatchAction, OpenError};
use fastly::erl::{CounterDuration, Penaltybox, RateCounter, RateWindow, ERL};
use fastly::{Error, Request, Response};
use std::time::Duration;

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let path = req.get_path().to_owned();
    let (status, body) = match path.strip_prefix("/acl/") {
        Some(name) => look_up(&req, name),
        None => match limit(&req, &path) {
            Ok(value) => (200, value),
            Err(err) => (400, err),
        },
    };
    Ok(Response::from_status(status)
        .with_body(body + "\n")
        .with_header("x-guest", "rust/limits"))
}

fn look_up(req: &Request, name: &str) -> (u16, String) {
    let acl = match Acl::open(name) {
        Ok(acl) => acl,
        Err(OpenError::AclNotFound) => return (404, "no such ACL".to_owned()),
        Err(err) => return (400, format!("{err:?}")),
    };
    let ip = match req.get_query_parameter("ip") {
        Some(text) => text.parse().ok(),
        None => req.get_client_ip_addr(),
    };
    let Some(ip) = ip else {
        return (400, "no address".to_owned());
    };
    match acl.try_lookup(ip) {
        Ok(Some(found)) => {
            let action = match found.action() {
                MatchAction::Allow => "may come",
                MatchAction::Block => "may not come",
                MatchAction::Other(other) => other,
            };
            (200, format!("{} {action}", found.prefix()))
        }
        Ok(None) => (200, "no match".to_owned()),
        Err(err) => (400, format!("{err:?}")),
    }
}

fn limit(req: &Request, path: &str) -> Result<String, String> {
    let text = |name: &str| req.get_query_parameter(name).unwrap_or("default").to_owned();
    let number = |name: &str| {
        let value = req.get_query_parameter(name);
        value.and_then(|v| v.parse::<u32>().ok()).unwrap_or(1)
    };
    let counter = RateCounter::open(&text("counter"));
    let penaltybox = Penaltybox::open(&text("box"));
    let entry = text("entry");
    let ttl = Duration::from_secs(number("ttl").into());
    let window = match number("window") {
        1 => RateWindow::OneSec,
        10 => RateWindow::TenSecs,
        _ => RateWindow::SixtySecs,
    };
    let duration = match number("duration") {
        10 => CounterDuration::TenSec,
        20 => CounterDuration::TwentySecs,
        30 => CounterDuration::ThirtySecs,
        40 => CounterDuration::FortySecs,
        50 => CounterDuration::FiftySecs,
        _ => CounterDuration::SixtySecs,
    };
    match path {
        "/check" => ERL::open(counter, penaltybox)
            .check_rate(&entry, number("delta"), window, number("limit"), ttl)
            .map(|blocked| blocked.to_string()),
        "/increment" => counter.increment(&entry, number("delta")).map(|()| "counted".to_owned()),
        "/rate" => counter.lookup_rate(&entry, window).map(|rate| rate.to_string()),
        "/count" => counter.lookup_count(&entry, duration).map(|count| count.to_string()),
        "/penalise" => penaltybox.add(&entry, ttl).map(|()| "penalised".to_owned()),
        "/penalised" => penaltybox.has(&entry).map(|has| has.to_string()),
        _ => return Err("want /acl/NAME, /check, /increment, /rate, /count, /penalise or /penalised".to_owned()),
    }
    .map_err(|err| format!("{err:?}"))
}

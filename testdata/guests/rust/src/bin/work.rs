//! Work for benchmarks: `/transform` sums up the orders in its body, which is JSON, and answers in JSON; `/primes`
//! counts the primes below 30000. The servers that are measured beside this one do the same work.

use fastly::http::header::CONTENT_TYPE;
use fastly::http::StatusCode;
use fastly::{Error, Request, Response};
use serde_json::{json, Value};

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let answer = match req.get_path() {
        "/transform" => transform(&serde_json::from_slice(&req.into_body_bytes())?),
        "/primes" => json!({ "primes": (2..30_000).filter(|&n| is_prime(n)).count() }),
        _ => return Ok(Response::from_status(StatusCode::NOT_FOUND)),
    };
    Ok(Response::from_body(answer.to_string()).with_header(CONTENT_TYPE, "application/json"))
}

fn transform(input: &Value) -> Value {
    let mut all = 0;
    let mut orders = Vec::new();
    for order in input["orders"].as_array().into_iter().flatten() {
        let total: u64 = order["lines"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|line| line["quantity"].as_u64().unwrap_or(0) * line["price"].as_u64().unwrap_or(0))
            .sum();
        all += total;
        let name = order["customer"]["name"].as_str().unwrap_or("");
        orders.push(json!({ "id": order["id"], "customer": name.to_uppercase(), "total": total }));
    }
    json!({ "count": orders.len(), "total": all, "orders": orders })
}

fn is_prime(n: u32) -> bool {
    let mut d = 2;
    while d * d <= n {
        if n % d == 0 {
            return false;
        }
        d += 1;
    }
    true
}

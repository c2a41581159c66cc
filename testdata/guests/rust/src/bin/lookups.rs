//! Looks up what the host knows of addresses and clients: /geo/ADDRESS, and /device and /uap of the client's own user agent.

use fastly::geo::geo_lookup;
use fastly::http::header::USER_AGENT;
use fastly::{device_detection, Error, Request, Response};
use serde_json::json;
use std::net::IpAddr;

#[fastly::main]
fn main(req: Request) -> Result<Response, Error> {
    let path = req.get_path();
    let agent = req.get_header_str(USER_AGENT).unwrap_or("");
    let answer = match path.strip_prefix("/geo/") {
        Some(address) => match address.parse() {
            Ok(address) => geo(address),
            Err(_) => return Ok(Response::from_status(400)),
        },
        None if path == "/device" => device(agent),
        None if path == "/uap" => uap(agent),
        None => return Ok(Response::from_status(404)),
    };
    Ok(Response::from_body(answer.to_string()))
}

fn geo(address: IpAddr) -> serde_json::Value {
    let Some(g) = geo_lookup(address) else {
        return json!(null);
    };
    json!([
        g.as_name(),
        g.as_number(),
        g.area_code(),
        g.city(),
        format!("{:?} {:?}", g.conn_speed(), g.conn_type()),
        format!("{:?}", g.continent()),
        g.country_code(),
        g.country_code3(),
        g.country_name(),
        g.latitude(),
        g.longitude(),
        g.metro_code(),
        g.postal_code(),
        format!("{:?} {:?}", g.proxy_description(), g.proxy_type()),
        g.region(),
        g.utc_offset().map(|o| o.whole_minutes()),
    ])
}

fn device(agent: &str) -> serde_json::Value {
    let Some(d) = device_detection::lookup(agent) else {
        return json!(null);
    };
    json!([
        [d.device_name(), d.brand(), d.model(), d.hwtype()],
        [
            d.is_desktop(),
            d.is_ereader(),
            d.is_gameconsole(),
            d.is_mediaplayer(),
            d.is_mobile(),
            d.is_smarttv(),
            d.is_tablet(),
            d.is_touchscreen(),
            d.is_tvplayer()
        ],
        [
            d.user_agent_name(),
            d.user_agent_major_version(),
            d.user_agent_minor_version(),
            d.user_agent_patch_version(),
            d.user_agent_bot_name()
        ],
        [d.is_bot(), d.is_downloader(), d.is_feedreader(), d.is_identified()],
        [d.os_name(), d.os_major_version(), d.os_minor_version(), d.os_patch_version()],
    ])
}

#[allow(deprecated)]
fn uap(agent: &str) -> serde_json::Value {
    match fastly::experimental::uap_parse(agent) {
        Ok(parts) => json!(parts),
        Err(err) => json!(err.to_string()),
    }
}

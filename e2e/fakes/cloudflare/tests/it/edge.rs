//! The edge and the connector: from a visitor to an application and back.
use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::HeaderMap,
    routing::{any, get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use fake_cloudflare::{Connector, ConnectorError, ConnectorSettings};
use http_body_util::channel::Channel;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::support::{World, application, wait, within};

const HOST: &str = "api.yourdomain.com";

fn greeting(text: &'static str) -> Router {
    Router::new().fallback(any(move || async move { text }))
}

/// A tunnel with `HOST` pointed at it and at the given application.
async fn exposed(world: &World, router: Router) -> String {
    let address = application(router).await;
    let tunnel = world.create_tunnel("pr-1").await;
    world.expose("api", &tunnel).await;
    let rules = json!([{"hostname": HOST, "service": format!("http://{address}")}, {"service": "http_status:404"}]);
    world.configure(&tunnel, rules).await.result();
    tunnel
}

#[tokio::test]
async fn a_host_is_served_once_it_has_a_record_and_a_connector() {
    let world = World::start().await;
    let address = application(greeting("hello")).await;
    assert_eq!(
        world.visit(HOST, "/").await,
        (530, "error code: 1016".into())
    );

    let tunnel = world.create_tunnel("pr-1").await;
    world.expose("api", &tunnel).await;
    let rules = json!([{"hostname": HOST, "service": format!("http://{address}")}, {"service": "http_status:404"}]);
    world.configure(&tunnel, rules).await.result();
    assert_eq!(
        world.visit(HOST, "/").await,
        (530, "error code: 1033".into())
    );

    let connector = world.connect(&tunnel).await;
    assert_eq!(world.visit(HOST, "/").await, (200, "hello".into()));
    let (client, url) = world.at_edge("https", HOST, "/");
    let secure = client.get(url).send().await.unwrap();
    assert_eq!(secure.version(), reqwest::Version::HTTP_2);
    assert_eq!(secure.text().await.unwrap(), "hello");

    connector.stop().await;
    assert_eq!(
        world.visit(HOST, "/").await,
        (530, "error code: 1033".into())
    );
}

#[tokio::test]
async fn a_connector_that_dies_without_a_word_is_noticed() {
    let world = World::start().await;
    let tunnel = exposed(&world, greeting("hello")).await;
    let connector = world.connect(&tunnel).await;
    drop(connector);
    wait("1033", async || {
        (world.visit(HOST, "/").await.1 == "error code: 1033").then_some(())
    })
    .await;
    assert_eq!(
        world.get(&world.tunnel(&tunnel)).await.result()["status"],
        "down"
    );
}

#[tokio::test]
async fn a_tunnel_is_not_deleted_under_its_connector() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    let connector = world.connect(&tunnel).await;
    assert_eq!(
        world.get(&world.tunnel(&tunnel)).await.result()["status"],
        "healthy"
    );
    let connections = world
        .get(&format!("{}/connections", world.tunnel(&tunnel)))
        .await;
    assert_eq!(
        connections.result()[0]["conns"].as_array().unwrap().len(),
        4
    );

    let refused = world.delete(&world.tunnel(&tunnel)).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, 1022)
    );
    connector.stop().await;
    assert!(world.delete(&world.tunnel(&tunnel)).await.result()["deleted_at"].is_string());
}

#[tokio::test]
async fn connections_that_are_cleaned_up_come_back() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    let connector = world.connect(&tunnel).await;
    let connections = format!("{}/connections", world.tunnel(&tunnel));
    let ids = async || {
        let all = world.get(&connections).await;
        let conns = all.result()[0]["conns"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conns
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = ids().await;
    world.delete(&connections).await.result();
    wait("four others", async || {
        let now = ids().await;
        (now.len() == 4 && now.iter().all(|id| !before.contains(id))).then_some(())
    })
    .await;
    connector.stop().await;
}

#[tokio::test]
async fn a_new_configuration_takes_effect_within_a_second() {
    let world = World::start().await;
    let tunnel = exposed(&world, greeting("old")).await;
    let connector = world.connect(&tunnel).await;
    assert_eq!(world.visit(HOST, "/").await.1, "old");
    let address = application(greeting("new")).await;
    world
        .configure(&tunnel, json!([{"service": format!("http://{address}")}]))
        .await
        .result();
    within(Duration::from_secs(1), "the new application", async || {
        (world.visit(HOST, "/").await.1 == "new").then_some(())
    })
    .await;
    connector.stop().await;
}

#[tokio::test]
async fn rules_without_a_service_behind_them_are_answered_by_the_connector() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    world.expose("*", &tunnel).await;
    let connector = world.connect(&tunnel).await;
    assert_eq!(world.visit(HOST, "/").await.0, 503);
    let closed = {
        std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    };
    let rules = json!([
        {"hostname": HOST, "path": "^/gone", "service": "http_status:410"},
        {"hostname": HOST, "service": format!("http://{closed}")},
        {"service": "http_status:404"},
    ]);
    world.configure(&tunnel, rules).await.result();
    wait("the rules", async || {
        (world.visit(HOST, "/gone").await.0 == 410).then_some(())
    })
    .await;
    assert_eq!(
        world.visit(HOST, "/").await,
        (502, "error code: 502".into())
    );
    assert_eq!(
        world.visit("web.yourdomain.com", "/").await,
        (404, String::new())
    );
    connector.stop().await;
}

#[tokio::test]
async fn an_https_service_is_verified_unless_the_rule_says_otherwise() {
    let world = World::start().await;
    // The admin of another stand-in will not do, its API will: HTTPS with a certificate nobody trusts here.
    let other = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    world.expose("*", &tunnel).await;
    let service = format!("https://127.0.0.1:{}", other.cloud.addresses().api.port());
    let rules = json!([
        {"hostname": HOST, "service": service, "originRequest": {"noTLSVerify": true}},
        {"service": service},
    ]);
    world.configure(&tunnel, rules).await.result();
    let connector = world.connect(&tunnel).await;
    assert_eq!(world.visit(HOST, "/client/v4/zones").await.0, 400);
    assert_eq!(
        world
            .visit("web.yourdomain.com", "/client/v4/zones")
            .await
            .0,
        502
    );
    connector.stop().await;
}

#[tokio::test]
async fn the_application_learns_of_the_visitor() {
    async fn headers(headers: HeaderMap) -> Json<Value> {
        let texts = headers
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap())));
        Json(Value::Object(texts.collect()))
    }
    let world = World::start().await;
    let tunnel = exposed(&world, Router::new().route("/", get(headers))).await;
    let connector = world.connect(&tunnel).await;
    let (client, url) = world.at_edge("https", HOST, "/");
    let request = client
        .get(url)
        .header("x-forwarded-for", "198.51.100.1")
        .header("cf-connecting-ip", "forged");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["host"], HOST);
    assert_eq!(seen["cf-connecting-ip"], "127.0.0.1");
    assert_eq!(seen["x-forwarded-for"], "198.51.100.1,127.0.0.1");
    assert_eq!(seen["x-forwarded-proto"], "https");
    assert!(seen["cf-ray"].is_string());
    connector.stop().await;
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let world = World::start().await;
    let echo = Router::new().route("/", post(async |request: Request| request.into_body()));
    let tunnel = exposed(&world, echo).await;
    let connector = world.connect(&tunnel).await;
    let (client, url) = world.at_edge("https", HOST, "/");
    let (mut sender, body) = Channel::<Bytes>::new(1);
    let mut response = client
        .post(url)
        .body(reqwest::Body::wrap(body))
        .send()
        .await
        .unwrap();
    // Each piece comes back before the next one is sent.
    for piece in ["first", "second"] {
        sender.send_data(piece.into()).await.unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), piece);
    }
    drop(sender);
    assert!(response.bytes().await.unwrap().is_empty());
    connector.stop().await;
}

#[tokio::test]
async fn a_websocket_is_passed_through() {
    async fn socket(mut request: Request) -> axum::response::Response {
        let client = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(client.await.unwrap()));
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        });
        let response = axum::response::Response::builder().status(101);
        let response = response
            .header("connection", "Upgrade")
            .header("upgrade", "websocket");
        response
            .header("sec-websocket-accept", "accepted")
            .body(Body::empty())
            .unwrap()
    }
    let world = World::start().await;
    let tunnel = exposed(&world, Router::new().route("/socket", get(socket))).await;
    let connector = world.connect(&tunnel).await;
    let mut stream = TcpStream::connect(world.cloud.addresses().edge_http)
        .await
        .unwrap();
    let hello = format!(
        "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(hello.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: accepted"), "{head}");
    for frame in ["ping", "pong"] {
        stream.write_all(frame.as_bytes()).await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, frame.as_bytes());
    }
    drop(stream);
    connector.stop().await;
}

#[tokio::test]
async fn a_leaving_connector_finishes_the_request_under_way() {
    let (entered, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (entered, proceed) = (entered.clone(), proceed.clone());
        async move || {
            entered.notify_one();
            proceed.notified().await;
            "finished"
        }
    };
    let world = World::start().await;
    let tunnel = exposed(&world, Router::new().route("/", get(handler))).await;
    let connector = world.connect(&tunnel).await;
    let (client, url) = world.at_edge("http", HOST, "/");
    let visit =
        tokio::spawn(async move { client.get(url).send().await.unwrap().text().await.unwrap() });
    entered.notified().await;
    let leaving = tokio::spawn(connector.stop());
    let status = format!("{}?status=down", world.tunnels());
    wait("the connector has left", async || {
        (world.get(&status).await.each("id") == [tunnel.clone()]).then_some(())
    })
    .await;
    assert!(!leaving.is_finished());
    proceed.notify_one();
    assert_eq!(visit.await.unwrap(), "finished");
    leaving.await.unwrap();
}

#[tokio::test]
async fn requests_longer_than_the_grace_period_are_cut() {
    let entered = Arc::new(Notify::new());
    let handler = {
        let entered = entered.clone();
        async move || {
            entered.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let world = World::start().await;
    let tunnel = exposed(&world, Router::new().route("/", get(handler))).await;
    let mut settings = world.connector_settings(&tunnel).await;
    settings.grace = Duration::from_millis(50);
    let connector = Connector::start(settings).await.unwrap();
    wait("ready", async || {
        (world.ready(&connector).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    let (client, url) = world.at_edge("http", HOST, "/");
    let visit = tokio::spawn(async move { client.get(url).send().await.unwrap().status() });
    entered.notified().await;
    connector.stop().await;
    assert_eq!(visit.await.unwrap(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_connector_is_unready_until_the_edge_knows_it_and_comes_back_after_a_restart() {
    let scratch = crate::support::Scratch::new();
    let state = scratch.0.join("state.json");
    let world = World::with(|settings| settings.state = Some(state.clone())).await;
    let tunnel = exposed(&world, greeting("hello")).await;

    let mut wrong = world.connector_settings(&tunnel).await;
    wrong.edges = vec!["127.0.0.1:1".into()];
    let lost = Connector::start(wrong).await.unwrap();
    assert_eq!(
        world.ready(&lost).await,
        (StatusCode::SERVICE_UNAVAILABLE, 0)
    );
    lost.stop().await;

    let connector = world.connect(&tunnel).await;
    assert_eq!(world.ready(&connector).await, (StatusCode::OK, 4));
    let world = world.restarted().await;
    wait("the connector is back", async || {
        (world.ready(&connector).await.1 == 4 && world.visit(HOST, "/").await.0 == 200)
            .then_some(())
    })
    .await;
    connector.stop().await;
}

#[tokio::test]
async fn a_connector_needs_the_tunnels_own_token_and_an_edge_it_can_trust() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    let refused = Connector::start(ConnectorSettings::new("not a token")).await;
    assert!(matches!(refused, Err(ConnectorError::Token)));

    let mut untrusting = world.connector_settings(&tunnel).await;
    untrusting.roots = fake_cloudflare::RootCertStore::empty();
    let mut guessing = world.connector_settings(&tunnel).await;
    let guess = json!({"a": world.settings.account, "t": tunnel, "s": STANDARD.encode([0; 32])});
    guessing.token = STANDARD.encode(guess.to_string());
    let gone = world.create_tunnel("gone").await;
    let orphan = world.connector_settings(&gone).await;
    world.delete(&world.tunnel(&gone)).await.result();
    for settings in [untrusting, guessing, orphan] {
        let connector = Connector::start(settings).await.unwrap();
        let metrics = format!("http://{}/metrics", connector.metrics());
        wait("three refusals of every connection", async || {
            let text = world
                .client
                .get(&metrics)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap();
            let failures = text
                .lines()
                .find_map(|line| line.strip_prefix("cloudflared_tunnel_tunnel_register_fail "));
            (failures.unwrap().parse::<u64>().unwrap() >= 12).then_some(())
        })
        .await;
        assert_eq!(
            world.ready(&connector).await,
            (StatusCode::SERVICE_UNAVAILABLE, 0)
        );
        connector.stop().await;
    }
}

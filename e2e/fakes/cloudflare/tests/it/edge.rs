//! The edge and the connector: from a visitor to an application and back.
use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::HeaderMap,
    routing::{any, get, post},
};
use futures_util::{SinkExt, StreamExt};
use http_body_util::channel::Channel;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{client_async, tungstenite::Message};

use crate::support::{World, application, wait, within};

pub(crate) const HOST: &str = "api.yourdomain.com";

pub(crate) fn greeting(text: &'static str) -> Router {
    Router::new().fallback(any(move || async move { text }))
}

/// A tunnel with `HOST` pointed at it and at the given application.
pub(crate) async fn exposed(world: &World, router: Router) -> String {
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
    // The admin of another stand-in will not do, its API will: HTTPS with a certificate nobody
    // trusts here.
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
async fn a_connection_is_carried_by_a_websocket_and_one_that_is_refused_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    });

    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    world.expose("api", &tunnel).await;
    let connector = world.connect(&tunnel).await;
    let ask = async |service: String| {
        let rules = json!([{"hostname": HOST, "service": service}, {"service": "http_status:404"}]);
        world.configure(&tunnel, rules).await.result();
        let edge = world.cloud.addresses().edge_http;
        let stream = TcpStream::connect(edge).await.unwrap();
        client_async(format!("ws://{HOST}/"), stream).await
    };

    // Nobody listens there.
    assert!(ask("ssh://127.0.0.1:1".into()).await.is_err());

    let (mut socket, _) = ask(format!("tcp://{address}")).await.unwrap();
    socket.send(Message::binary("ping")).await.unwrap();
    let back = socket.next().await.unwrap().unwrap();
    assert_eq!(back.into_data(), "ping");

    drop(socket);
    connector.stop().await;
}

//! Connectors coming and going.
use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use data_encoding::BASE64;
use fake_cloudflare::{Connector, ConnectorError, ConnectorSettings, RootCertStore};
use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::Notify;

use crate::{
    edge::{HOST, exposed, greeting},
    support::{Scratch, World, wait},
};

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
    let scratch = Scratch::new();
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
    untrusting.roots = RootCertStore::empty();
    let mut guessing = world.connector_settings(&tunnel).await;
    let guess = json!({"a": world.settings.account, "t": tunnel, "s": BASE64.encode(&[0; 32])});
    guessing.token = BASE64.encode(guess.to_string().as_bytes());
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

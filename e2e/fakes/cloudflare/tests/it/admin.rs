//! Faults and counters.
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{World, builder};

#[tokio::test]
async fn a_status_fault_answers_in_place_of_the_api_as_often_as_it_says() {
    let world = World::start().await;
    let path = "/accounts/*/cfd_tunnel";

    world
        .set_faults(
            json!([{"method": "POST", "path": path, "times": 1, "status": 500, "code": 1234}]),
        )
        .await;
    world.get(&world.tunnels()).await.result();

    let struck = world
        .api(Method::POST, &world.tunnels(), json!({"name": "pr-1"}))
        .await;

    assert_eq!(
        (struck.status, struck.code()),
        (StatusCode::INTERNAL_SERVER_ERROR, 1234)
    );
    assert_eq!(world.get(&world.tunnels()).await.each("id"), [""; 0]);
    world.create_tunnel("pr-1").await;

    let left: Value = world
        .client
        .get(world.admin("/faults"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();

    assert_eq!(
        (&left[0]["times"], &left[0]["struck"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn a_fault_may_carry_its_own_body() {
    let world = World::start().await;
    world
        .set_faults(json!([{"path": "/zones", "status": 502, "body": "error code: 502"}]))
        .await;

    let response = world.client.get(world.url("/zones")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.text().await.unwrap(), "error code: 502");
    world
        .client
        .delete(world.admin("/faults"))
        .send()
        .await
        .unwrap();
    world.get("/zones").await.result();
}

#[tokio::test]
async fn a_delay_fault_holds_the_answer_back() {
    let world = World::start().await;
    world
        .set_faults(json!([{"path": "/zones", "delay_ms": 150}]))
        .await;
    let asked = Instant::now();
    world.get("/zones").await.result();
    assert!(asked.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_lost_response_was_performed_over_http_1_and_2() {
    let world = World::start().await;
    let old = builder(&world.settings).http1_only().build().unwrap();
    for (client, name) in [(&world.client, "over-2"), (&old, "over-1")] {
        let fault =
            json!({"method": "POST", "path": "/accounts/**", "times": 1, "lost_response": true});
        world.set_faults(json!([fault])).await;
        let body = json!({"name": name});
        let create = client.post(world.url(&world.tunnels())).json(&body);

        create
            .bearer_auth(&world.settings.token)
            .send()
            .await
            .unwrap_err();

        let again = world.api(Method::POST, &world.tunnels(), body).await;
        assert_eq!(again.code(), 1013);
    }

    let creates = &world.counters().await["tunnels"]["creates"];
    assert_eq!(*creates, json!({"over-1": 1, "over-2": 1}));
}

#[tokio::test]
async fn a_lagging_list_does_not_show_what_is_new() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    world.expose("api", &tunnel).await;
    world
        .set_faults(json!([{"method": "GET", "path": "/**", "list_lag_ms": 3_600_000}]))
        .await;
    assert_eq!(world.get(&world.tunnels()).await.each("id"), [""; 0]);
    assert_eq!(world.get(&world.records()).await.each("id"), [""; 0]);
    world.get(&world.tunnel(&tunnel)).await.result();
    world
        .set_faults(json!([{"method": "GET", "path": "/**", "list_lag_ms": 0}]))
        .await;
    assert_eq!(world.get(&world.tunnels()).await.each("id"), [tunnel]);
    assert_eq!(
        world.get(&world.records()).await.each("name"),
        ["api.yourdomain.com"]
    );
}

#[tokio::test]
async fn calls_creates_and_deletes_are_counted_until_reset() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;

    world
        .configure(&tunnel, json!([{"service": "http_status:404"}]))
        .await
        .result();

    let record = world
        .create_record("A", "a", "192.0.2.1", json!({}))
        .await
        .id();

    world.create_record("A", "a", "192.0.2.1", json!({})).await;
    world
        .delete(&format!("{}/{record}", world.records()))
        .await
        .result();
    world.delete(&world.tunnel(&tunnel)).await.result();

    let counters = world.counters().await;
    assert_eq!(counters["calls"]["POST /zones/{zone_id}/dns_records"], 2);
    assert_eq!(
        counters["calls"]["DELETE /accounts/{account_id}/cfd_tunnel/{tunnel_id}"],
        1
    );
    assert_eq!(counters["answers"], json!({"200": 5, "400": 1}));
    assert_eq!(
        counters["records"]["creates"],
        json!({"a.yourdomain.com": 1})
    );
    assert_eq!(
        counters["records"]["deletes"],
        json!({"a.yourdomain.com": 1})
    );
    assert_eq!(
        counters["tunnels"],
        json!({"creates": {"pr-1": 1}, "updates": {"pr-1": 1}, "deletes": {"pr-1": 1}})
    );

    world
        .client
        .post(world.admin("/reset"))
        .send()
        .await
        .unwrap();
    assert_eq!(world.counters().await["calls"], json!({}));
    assert_eq!(
        world
            .client
            .get(world.admin("/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
}

//! The token, tunnels, zones and the rate limit.
use std::time::Duration;

use data_encoding::BASE64;
use fake_cloudflare::Limit;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Scratch, World, ZONE};

#[tokio::test]
async fn a_call_needs_the_token() {
    let world = World::start().await;
    let ask = async |path: &str, header: Option<&str>| {
        let mut request = world.client.get(world.url(path));

        if let Some(header) = header {
            request = request.header("authorization", header);
        }

        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["success"], json!(status == 200));
        (
            status,
            body["errors"][0]["code"].as_u64(),
            body["errors"][0]["error_chain"][0]["code"].as_u64(),
        )
    };

    let wrong = format!("Bearer {}", "x".repeat(40));
    let right = format!("Bearer {}", world.settings.token);

    assert_eq!(ask("/zones", None).await, (400, Some(9106), None));
    assert_eq!(
        ask("/zones", Some("Bearer short")).await,
        (400, Some(6003), Some(6111))
    );
    assert_eq!(
        ask("/zones", Some("Basic dXNlcg==")).await,
        (400, Some(6003), Some(6111))
    );
    assert_eq!(ask("/zones", Some(&wrong)).await, (403, Some(9109), None));
    assert_eq!(
        ask(&world.tunnels(), Some(&wrong)).await,
        (403, Some(10_000), None)
    );
    assert_eq!(
        ask("/user/tokens/verify", Some(&wrong)).await,
        (401, Some(1_000), None)
    );
    assert_eq!(
        ask("/user/tokens/verify", Some(&right)).await,
        (200, None, None)
    );
}

#[tokio::test]
async fn a_token_put_by_the_admin_replaces_the_old_one_and_null_revokes_it() {
    let world = World::start().await;
    let put = async |token: Value| {
        world
            .client
            .put(world.admin("/token"))
            .json(&json!({"token": token}))
            .send()
            .await
            .unwrap();
    };

    let next = "n".repeat(40);
    let verify = async |token: &str| {
        world
            .client
            .get(world.url("/user/tokens/verify"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap()
            .status()
    };

    put(json!(next)).await;
    assert_eq!(
        verify(&world.settings.token).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(verify(&next).await, StatusCode::OK);
    put(Value::Null).await;
    assert_eq!(verify(&next).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_tunnel_is_created_listed_read_and_deleted() {
    let world = World::start().await;
    let created = world
        .api(
            Method::POST,
            &world.tunnels(),
            json!({"name": "pr-1", "config_src": "cloudflare"}),
        )
        .await;
    let id = created.id();

    for (field, value) in [
        ("account_tag", json!(world.settings.account)),
        ("name", json!("pr-1")),
        ("status", json!("inactive")),
        ("deleted_at", Value::Null),
        ("connections", json!([])),
        ("remote_config", json!(true)),
        ("tun_type", json!("cfd_tunnel")),
    ] {
        assert_eq!(created.result()[field], value, "{field}");
    }

    let list = async |query: &str| world.get(&format!("{}?{query}", world.tunnels())).await;
    assert_eq!(
        list("name=pr-1&is_deleted=false").await.each("id"),
        [id.as_str()]
    );
    assert_eq!(list("name=pr-2&is_deleted=false").await.each("id"), [""; 0]);
    assert_eq!(
        list("uuid=00000000-0000-0000-0000-000000000000")
            .await
            .each("id"),
        [""; 0]
    );

    assert!(world.delete(&world.tunnel(&id)).await.result()["deleted_at"].is_string());
    assert!(world.get(&world.tunnel(&id)).await.result()["deleted_at"].is_string());
    assert_eq!(
        world.delete(&world.tunnel(&id)).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        world
            .get(&format!("{}/token", world.tunnel(&id)))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(list("name=pr-1&is_deleted=false").await.each("id"), [""; 0]);
    assert_eq!(list("name=pr-1").await.each("id"), [id.as_str()]);
}

#[tokio::test]
async fn a_tunnels_token_names_account_tunnel_and_secret() {
    let world = World::start().await;
    let id = world.create_tunnel("pr-1").await;
    let token = world.get(&format!("{}/token", world.tunnel(&id))).await;
    let decoded: Value = serde_json::from_slice(
        &BASE64
            .decode(token.result().as_str().unwrap().as_bytes())
            .unwrap(),
    )
    .unwrap();

    assert_eq!(
        (&decoded["a"], &decoded["t"]),
        (&json!(world.settings.account), &json!(id))
    );

    assert!(
        BASE64
            .decode(decoded["s"].as_str().unwrap().as_bytes())
            .unwrap()
            .len()
            >= 32
    );
}

#[tokio::test]
async fn a_live_tunnels_name_is_taken() {
    let world = World::start().await;
    let id = world.create_tunnel("pr-1").await;
    let again = world
        .api(Method::POST, &world.tunnels(), json!({"name": "pr-1"}))
        .await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, 1013));
    world.delete(&world.tunnel(&id)).await.result();
    assert_ne!(world.create_tunnel("pr-1").await, id);
}

#[tokio::test]
async fn a_tunnel_takes_a_secret_of_32_bytes_and_no_shorter() {
    let world = World::start().await;
    let create = async |name: &str, bytes: usize| {
        let secret = BASE64.encode(&vec![7; bytes]);
        world
            .api(
                Method::POST,
                &world.tunnels(),
                json!({"name": name, "tunnel_secret": secret}),
            )
            .await
    };

    assert_eq!(create("short", 31).await.status, StatusCode::BAD_REQUEST);
    let made = create("long", 32).await;
    assert_eq!(
        made.result()["credentials_file"]["TunnelSecret"],
        json!(BASE64.encode(&[7; 32]))
    );
    assert_eq!(made.result()["config_src"], "local");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::start().await;

    for name in ["a", "b", "c"] {
        world.create_tunnel(name).await;
    }

    let page = world
        .get(&format!("{}?per_page=2&page=2", world.tunnels()))
        .await;
    assert_eq!(page.each("name"), ["c"]);
    let info = json!({"page": 2, "per_page": 2, "count": 1, "total_count": 3, "total_pages": 2});
    assert_eq!(page.body["result_info"], info);
    assert_eq!(
        world
            .get(&format!("{}?per_page=0", world.tunnels()))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn another_account_zone_or_path_is_not_ours() {
    let world = World::start().await;
    let other = "f".repeat(32);
    let account = world.get(&format!("/accounts/{other}/cfd_tunnel")).await;

    assert_eq!(
        (account.status, account.code()),
        (StatusCode::FORBIDDEN, 10_000)
    );

    let zone = world.get(&format!("/zones/{other}/dns_records")).await;
    assert_eq!((zone.status, zone.code()), (StatusCode::FORBIDDEN, 10_000));
    for path in [
        "/accounts/me/cfd_tunnel",
        "/zones/me/dns_records",
        "/elsewhere",
    ] {
        let unknown = world.get(path).await;
        assert_eq!(
            (unknown.status, unknown.code()),
            (StatusCode::NOT_FOUND, 7003),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_configuration_is_replaced_as_a_whole_and_needs_a_catch_all() {
    let world = World::start().await;
    let id = world.create_tunnel("pr-1").await;
    let path = format!("{}/configurations", world.tunnel(&id));
    assert_eq!(world.get(&path).await.result()["config"], Value::Null);

    let rule = json!({"hostname": format!("api.{ZONE}"), "service": "http://api:80"});
    let refused = world.configure(&id, json!([rule])).await;

    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::BAD_REQUEST, 1056)
    );
    assert_eq!(world.get(&path).await.result()["version"], 0);

    let catch_all = json!({"service": "http_status:404"});
    world
        .configure(&id, json!([rule, catch_all]))
        .await
        .result();

    let second = world.configure(&id, json!([catch_all])).await;
    assert_eq!(second.result()["version"], 2);
    assert_eq!(
        world.get(&path).await.result()["config"]["ingress"],
        json!([catch_all])
    );
}

#[tokio::test]
async fn the_zone_is_found_by_its_name() {
    let world = World::start().await;
    let list = async |query: &str| world.get(&format!("/zones?{query}")).await.each("id");
    assert_eq!(list(&format!("name={ZONE}")).await, [world.cloud.zone_id()]);
    assert_eq!(list("name=elsewhere.com").await, [""; 0]);

    let zone = world
        .get(&format!("/zones/{}", world.cloud.zone_id()))
        .await;

    assert_eq!(
        zone.result()["account"]["id"],
        json!(world.settings.account)
    );
}

#[tokio::test]
async fn the_call_over_the_limit_is_answered_with_429_until_the_block_is_over() {
    let window = Duration::from_millis(300);
    let world = World::with(|settings| {
        settings.limit = Limit {
            requests: 2,
            window,
        }
    })
    .await;
    let ask = async || {
        let request = world
            .client
            .get(world.url("/zones"))
            .bearer_auth(&world.settings.token);
        let response = request.send().await.unwrap();
        let wait = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), wait)
    };
    // The window may turn between calls on a busy machine; the block does not start without three
    // in one.
    crate::support::wait("three calls in one window", async || {
        (ask().await == (429, Some("1".into()))).then_some(())
    })
    .await;
    crate::support::wait("the block is over", async || {
        (ask().await.0 == 200).then_some(())
    })
    .await;
    assert!(world.counters().await["rate_limited"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn the_limit_blocks_every_call_and_the_admin_may_lift_it() {
    let world = World::with(|settings| settings.limit.requests = 1).await;
    world.get("/zones").await.result();
    for path in ["/zones", "/user/tokens/verify"] {
        let blocked = world.get(path).await;
        assert_eq!(
            (blocked.status, blocked.code()),
            (StatusCode::TOO_MANY_REQUESTS, 971)
        );
    }

    let limit = json!({"requests": 10, "window_seconds": 300});
    world
        .client
        .put(world.admin("/limit"))
        .json(&limit)
        .send()
        .await
        .unwrap();
    world.get("/zones").await.result();
}

#[tokio::test]
async fn a_restart_keeps_tunnels_secrets_and_records() {
    let scratch = Scratch::new();
    let state = scratch.0.join("state.json");
    let world = World::with(|settings| settings.state = Some(state.clone())).await;
    let id = world.create_tunnel("pr-1").await;

    world
        .configure(&id, json!([{"service": "http_status:418"}]))
        .await
        .result();
    world.expose("api", &id).await;

    let token = world
        .get(&format!("{}/token", world.tunnel(&id)))
        .await
        .result()
        .clone();

    let world = world.restarted().await;

    assert_eq!(
        *world
            .get(&format!("{}/token", world.tunnel(&id)))
            .await
            .result(),
        token
    );
    assert_eq!(
        world.get(&world.records()).await.each("name"),
        ["api.yourdomain.com"]
    );

    let config = world
        .get(&format!("{}/configurations", world.tunnel(&id)))
        .await;

    assert_eq!(
        config.result()["config"]["ingress"][0]["service"],
        "http_status:418"
    );
}

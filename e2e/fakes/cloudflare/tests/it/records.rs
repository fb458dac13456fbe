//! DNS records through the API.
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::World;

#[tokio::test]
async fn a_record_is_created_read_changed_and_deleted() {
    let world = World::start().await;
    let made = world
        .create_record(
            "CNAME",
            "api.pr-1",
            "x.cfargotunnel.com",
            json!({"proxied": true, "comment": "owner=1"}),
        )
        .await;
    let path = format!("{}/{}", world.records(), made.id());

    for (field, value) in [
        ("name", json!("api.pr-1.yourdomain.com")),
        ("type", json!("CNAME")),
        ("content", json!("x.cfargotunnel.com")),
        ("proxied", json!(true)),
        ("proxiable", json!(true)),
        ("ttl", json!(1)),
        ("comment", json!("owner=1")),
    ] {
        assert_eq!(world.get(&path).await.result()[field], value, "{field}");
    }

    let patched = world
        .api(
            Method::PATCH,
            &path,
            json!({"content": "y.cfargotunnel.com"}),
        )
        .await;
    assert_eq!(patched.result()["content"], "y.cfargotunnel.com");
    assert_eq!(patched.result()["comment"], "owner=1");

    let put = world
        .api(
            Method::PUT,
            &path,
            json!({"type": "A", "name": "api.pr-1", "content": "192.0.2.1"}),
        )
        .await;

    assert_eq!(
        (&put.result()["type"], &put.result()["comment"]),
        (&json!("A"), &Value::Null)
    );

    assert_eq!(
        world.delete(&path).await.result(),
        &json!({"id": made.id()})
    );

    for gone in [world.get(&path).await, world.delete(&path).await] {
        assert_eq!((gone.status, gone.code()), (StatusCode::NOT_FOUND, 81044));
    }
}

#[tokio::test]
async fn a_taken_name_is_refused_with_the_code_that_says_how() {
    let world = World::start().await;
    world
        .create_record("CNAME", "c", "x.cfargotunnel.com", json!({}))
        .await
        .result();
    world
        .create_record("A", "a", "192.0.2.1", json!({}))
        .await
        .result();

    for (kind, name, content, code) in [
        ("CNAME", "c", "x.cfargotunnel.com", 81053),
        ("CNAME", "a", "x.cfargotunnel.com", 81053),
        ("A", "c", "192.0.2.1", 81054),
        ("A", "a", "192.0.2.1", 81058),
        ("A", "b", "not an address", 9005),
    ] {
        let refused = world.create_record(kind, name, content, json!({})).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::BAD_REQUEST, code),
            "{kind} {name}"
        );
    }

    assert_eq!(world.get(&world.records()).await.each("name").len(), 2);
}

#[tokio::test]
async fn a_list_is_filtered_by_name_and_comment() {
    let world = World::start().await;

    for (name, comment) in [("a", "owner=1"), ("b", "owner=1"), ("c", "owner=2")] {
        world
            .create_record(
                "CNAME",
                name,
                "x.cfargotunnel.com",
                json!({"comment": comment}),
            )
            .await
            .result();
    }

    let list = async |query: &str| {
        world
            .get(&format!("{}?{query}", world.records()))
            .await
            .each("name")
    };

    assert_eq!(
        list("comment.exact=owner%3D1").await,
        ["a.yourdomain.com", "b.yourdomain.com"]
    );
    assert_eq!(
        list("name=c.yourdomain.com&type=CNAME").await,
        ["c.yourdomain.com"]
    );
    assert_eq!(
        list("name.exact=c.yourdomain.com&comment.exact=owner%3D1").await,
        [""; 0]
    );
    assert_eq!(list("per_page=1&page=3").await, ["c.yourdomain.com"]);
}

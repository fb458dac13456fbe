//! The connector as a process.
use std::process::Stdio;

use reqwest::StatusCode;
use tokio::process::Command;

use crate::support::{Scratch, World, wait};

fn cloudflared() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudflared"));
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn cloudflared_exits_with_255_when_its_token_is_none() {
    let run = cloudflared()
        .args(["tunnel", "run", "--token", "nonsense"])
        .status();
    assert_eq!(run.await.unwrap().code(), Some(255));

    let run = cloudflared()
        .args(["tunnel", "run"])
        .env_remove("TUNNEL_TOKEN")
        .status();
    assert_eq!(run.await.unwrap().code(), Some(255));
}

#[tokio::test]
async fn cloudflared_connects_with_its_usual_command_line_and_leaves_on_sigterm() {
    let world = World::start().await;
    let tunnel = world.create_tunnel("pr-1").await;
    let scratch = Scratch::new();
    let (token, roots) = (scratch.0.join("token"), scratch.0.join("ca.pem"));
    std::fs::write(&token, world.connector_settings(&tunnel).await.token).unwrap();
    std::fs::write(&roots, &world.settings.cert_pem).unwrap();
    let edge = format!("127.0.0.1:{}", world.cloud.addresses().tunnel.port());
    let mut process = cloudflared()
        .args([
            "tunnel",
            "--no-autoupdate",
            "--metrics",
            "127.0.0.1:0",
            "--edge",
            &edge,
        ])
        .args(["run", "--grace-period", "5s", "--token-file"])
        .arg(token)
        .env("SSL_CERT_FILE", roots)
        .spawn()
        .unwrap();
    let status = async || {
        let answer = world.get(&world.tunnel(&tunnel)).await;
        answer.result()["status"].as_str().unwrap().to_owned()
    };

    wait("healthy", async || {
        (status().await == "healthy").then_some(())
    })
    .await;

    let pid = process.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
    assert_eq!(process.wait().await.unwrap().code(), Some(0));
    assert_eq!(status().await, "down");
    assert_eq!(
        world.delete(&world.tunnel(&tunnel)).await.status,
        StatusCode::OK
    );
}

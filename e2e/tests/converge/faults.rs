//! A service may die, and what it asks for may be lost, refused, late or done twice, at every point
//! of a preview's life: it ends as if nothing had been.
//!
//! A life that nothing breaks is recorded first. Then each of its points is broken in each way that
//! it can break, one in a life.

mod breaker;
mod http;
mod life;
mod nats;
mod plan;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use kube::Client;
use serde_json::json;

use breaker::Breaker;
use life::Life;
use plan::Plan;

use crate::programs::{Service, Ways};
use crate::state::State;
use crate::world::World;

/// Which plans are run: `all`, or those whose text has this; some of all kinds if nothing is said.
const PLANS: &str = "SEQUENCER_FAULTS";

/// Every how many are run if nothing is said.
const EVERY: usize = 100;

/// How many run at once.
const AT_ONCE: usize = 12;

/// How many points of a hundred may not be reached: two writes become one where they meet.
const MISSED: usize = 10;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes both processors for minutes; CONTRIBUTING.md says how it is run"]
async fn whatever_breaks_at_any_point_it_ends_well() -> Result<()> {
    let breaker = Arc::new(Breaker::default());
    let doors = breaker.clone();
    let world = World::with(async |direct, client| open(direct, client, &doors).await).await?;
    breaker.control(&world.programs)?;

    let reference = Life::new(&world, &breaker, 0, None).await?;
    let expected = reference.live(None).await.context("nothing broke")?;
    let points = breaker.points(reference.number);
    let all: Vec<_> = points.iter().flat_map(Plan::all).collect();
    let chosen = chosen(&all);
    eprintln!(
        "{} points, {} plans, {} of them run",
        points.len(),
        all.len(),
        chosen.len()
    );

    ensure!(!chosen.is_empty(), "no plan is called so");

    // What all notice heals what it should not: it comes when the others are over.
    let (shared, own): (Vec<_>, Vec<_>) = chosen
        .iter()
        .enumerate()
        .partition(|(_, plan)| plan.fault.is_shared());
    let mut ended = Vec::new();
    for plans in [own, shared] {
        let lives = iter(plans).map(|(which, plan)| {
            let (world, breaker, expected) = (&world, &*breaker, &expected);
            async move {
                let ended = broken(world, breaker, which + 1, plan, expected).await;
                (plan, ended.with_context(|| plan.to_string()))
            }
        });
        ended.extend(lives.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    }

    let missed = ended.iter();
    let missed = missed.filter(|(_plan, ended)| matches!(ended, Ok(false)));
    let missed: Vec<_> = missed.map(|(plan, _ended)| plan.to_string()).collect();
    let failed = ended
        .iter()
        .filter_map(|(_plan, ended)| ended.as_ref().err());
    let failed: Vec<_> = failed.map(|error| format!("{error:#}")).collect();
    eprintln!(
        "{} failed, {} did not come to their point: {missed:#?}",
        failed.len(),
        missed.len()
    );
    ensure!(
        failed.is_empty(),
        "{}\n{}",
        failed.join("\n\n"),
        world.programs.logs()?
    );
    ensure!(
        missed.len() * 100 <= chosen.len() * MISSED,
        "{} of {} plans did not come to their point",
        missed.len(),
        chosen.len()
    );
    Ok(())
}

/// Whether its point was reached.
async fn broken(
    world: &World,
    breaker: &Breaker,
    which: usize,
    plan: &Plan,
    expected: &State,
) -> Result<bool> {
    let life = Life::new(world, breaker, which, Some(plan.clone())).await?;
    life.live(Some(expected)).await?;
    Ok(breaker.is_broken(life.number))
}

fn chosen(all: &[Plan]) -> Vec<Plan> {
    match std::env::var(PLANS).as_deref() {
        Ok("all") => all.to_vec(),
        Ok(text) => {
            let those = all.iter().filter(|plan| plan.to_string().contains(text));
            those.cloned().collect()
        }
        Err(_) => all.iter().step_by(EVERY).cloned().collect(),
    }
}

/// Opens a door between each service and each of what it talks to.
async fn open(
    direct: &Ways,
    client: &Client,
    breaker: &Arc<Breaker>,
) -> Result<HashMap<Service, Ways>> {
    let nats: SocketAddr = direct.nats.trim_start_matches("nats://").parse()?;
    let outside = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()?;
    let mut ways = HashMap::new();

    for (service, port) in Service::ALL.into_iter().zip((9000_u16..).step_by(10)) {
        let at = |offset: u16| SocketAddr::new(nats.ip(), port + offset);
        let apis = [
            (at(0), http::Api::Kubernetes(client.clone())),
            (
                at(1),
                http::Api::Cloudflare(outside.clone(), direct.cloudflare.clone()),
            ),
        ];
        for (address, api) in apis {
            let door = http::Door {
                service,
                api,
                people: client.clone(),
                breaker: breaker.clone(),
            };
            door.open(address).await?;
        }
        let door = nats::Door {
            service,
            nats,
            breaker: breaker.clone(),
        };
        door.open(at(2)).await?;

        let kubeconfig = direct
            .kubeconfig
            .with_file_name(format!("{}.yaml", service.name()));
        write_kubeconfig(&kubeconfig, at(0))?;
        ways.insert(
            service,
            Ways {
                kubeconfig,
                nats: format!("nats://{}", at(2)),
                cloudflare: format!("http://{}/client/v4", at(1)),
            },
        );
    }
    Ok(ways)
}

fn write_kubeconfig(path: &PathBuf, server: SocketAddr) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "door",
        "clusters": [{"name": "door", "cluster": {"server": format!("http://{server}")}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "door", "context": {"cluster": "door", "user": "nobody"}}],
    });
    Ok(std::fs::write(path, config.to_string())?)
}

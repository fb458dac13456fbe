//! A service may die, and what it asks for may be lost, refused, late or done twice, at every point
//! of a preview's life: it ends as if nothing had been.
//!
//! A life that nothing breaks is recorded first. Then each of its points is broken in each way that
//! it can break, a few in a life.

mod breaker;
mod http;
mod life;
mod nats;
mod plan;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use kube::Client;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use breaker::Breaker;
use life::Life;
use plan::Plan;

use crate::programs::{Service, Ways};
use crate::state::State;
use crate::world::World;

/// Which plans are run: `all`, or those whose text has this; some of all kinds if nothing is said.
const PLANS: &str = "SEQUENCER_FAULTS";

/// Every how many are run if nothing is said, and of those that end a life, which need one each.
const EVERY: usize = 10;
const EVERY_END: usize = 40;

/// The most plans of one life: it costs the API server seconds.
const IN_ONE: usize = 5;

/// How many lives there are at once.
const AT_ONCE: usize = 12;

/// How many points of a hundred may not be reached: two writes become one where they meet.
const MISSED: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_at_any_point_it_ends_well() -> Result<()> {
    let breaker = Arc::new(Breaker::default());
    let doors = breaker.clone();
    let world = World::with(async |direct, client| open(direct, client, &doors).await).await?;
    breaker.control(&world)?;

    let reference = Life::new(&world, &breaker, 0, Vec::new()).await?;
    let expected = reference.live(None).await.context("nothing broke")?;
    let expected = expected.context("somebody ended it")?;
    let points = breaker.points(reference.number);
    let all: Vec<_> = points.iter().flat_map(Plan::all).collect();
    let (chosen, in_one) = chosen(&all);
    let count = chosen.len();
    ensure!(count > 0, "no plan is called so");
    eprintln!(
        "{} points, {} plans, {count} of them run",
        points.len(),
        all.len()
    );

    // What all notice heals what it should not: it comes when the others are over.
    let (shared, own): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|plan| plan.fault.is_shared());
    let phases = [own, shared].map(|plans| in_lives(plans, in_one));
    let mut which = 0;
    let (mut failed, mut missed) = (Vec::new(), Vec::new());
    for phase in phases {
        let lives = phase.into_iter().map(|plans| {
            which += 1;
            broken(&world, &breaker, which, plans, &expected)
        });
        let mut lives = iter(lives).buffer_unordered(AT_ONCE);
        while let Some(ended) = lives.next().await {
            match ended {
                Ok(plans) => missed.extend(plans.iter().map(ToString::to_string)),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
    }

    eprintln!(
        "{which} lives, {} failed; not come to: {missed:#?}",
        failed.len()
    );
    ensure!(
        failed.is_empty(),
        "{}\n{}",
        failed.join("\n\n"),
        world.programs.logs()?
    );
    ensure!(
        missed.len() * 100 <= count * MISSED,
        "{} of {count} plans did not come to their points",
        missed.len(),
    );
    Ok(())
}

/// Lives with these plans. Those that did not come to their points.
async fn broken(
    world: &World,
    breaker: &Breaker,
    which: usize,
    plans: Vec<Plan>,
    expected: &State,
) -> Result<Vec<Plan>> {
    let texts: Vec<_> = plans.iter().map(ToString::to_string).collect();
    let life = Life::new(world, breaker, which, plans).await?;
    let lived = life.live(Some(expected)).await;
    lived.with_context(|| texts.join("; "))?;
    Ok(breaker.missed(life.number))
}

/// The plans to run, and how many of them are in one life.
fn chosen(all: &[Plan]) -> (Vec<Plan>, usize) {
    match std::env::var(PLANS).as_deref() {
        Ok("all") => (all.to_vec(), IN_ONE),
        // Whoever looks for one wants to see nothing else.
        Ok(text) => {
            let those = all.iter().filter(|plan| plan.to_string().contains(text));
            (those.cloned().collect(), 1)
        }
        Err(_) => {
            let (ends, plans): (Vec<_>, Vec<_>) = all.iter().partition(|plan| plan.fault.is_end());
            let plans = plans.into_iter().step_by(EVERY);
            let ends = ends.into_iter().step_by(EVERY_END);
            (plans.chain(ends).cloned().collect(), IN_ONE)
        }
    }
}

/// Deals the plans out to lives, none of which breaks twice at one point. What ends a life is alone
/// in it.
fn in_lives(plans: Vec<Plan>, in_one: usize) -> Vec<Vec<Plan>> {
    let (ends, plans): (Vec<_>, Vec<_>) = plans.into_iter().partition(|plan| plan.fault.is_end());
    let count = plans.len().div_ceil(in_one);
    let mut lives = vec![Vec::<Plan>::new(); count];
    for (index, plan) in plans.into_iter().enumerate() {
        // Those beside each other are far from each other in the list, and so in a life.
        let mut turns = (index..index + lives.len()).map(|turn| turn % lives.len());
        let free = turns.find(|turn| {
            let life = &lives[*turn];
            life.len() < in_one && life.iter().all(|other| other.point != plan.point)
        });
        match free {
            Some(turn) => lives[turn].push(plan),
            None => lives.push(vec![plan]),
        }
    }
    lives.extend(ends.into_iter().map(|end| vec![end]));
    lives
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

/// Serves whoever comes to this address.
async fn listen<F>(
    address: SocketAddr,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<()>
where
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(())
}

fn write_kubeconfig(path: &Path, server: SocketAddr) -> Result<()> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "door",
        "clusters": [{"name": "door", "cluster": {"server": format!("http://{server}")}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "door", "context": {"cluster": "door", "user": "nobody"}}],
    });
    Ok(std::fs::write(path, config.to_string())?)
}

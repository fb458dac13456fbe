//! Whatever was done to a preview, in whatever order and while whatever was under way: in the end it
//! is as if it had been applied so, and when it goes nothing of it is left.
//!
//! A real API server with its controllers, a real NATS, the watcher and the deployer. Builds, tunnels
//! and records are played, and so is the kubelet: pods are ready at once.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod edits;
mod kubelet;
#[path = "../../../services/watcher/tests/integration/services.rs"]
mod services;
mod state;
mod world;

use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use edits::{Edit, first};
use world::{Preview, World};

/// How many sequences are run, and with which seed the first begins.
const SEQUENCES: (&str, u64) = ("SEQUENCER_SEQUENCES", 16);
const SEED: (&str, u64) = ("SEQUENCER_SEED", 0);

/// How many run at once.
const AT_ONCE: u64 = 4;

fn setting<T: FromStr + From<u64>>((name, default): (&str, u64)) -> T {
    let set = std::env::var(name).ok().and_then(|set| set.parse().ok());
    set.unwrap_or_else(|| default.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_edited_converges() -> Result<()> {
    let world = World::new().await?;
    let (first, count): (u64, u64) = (setting(SEED), setting(SEQUENCES));
    let seeds: Vec<u64> = (first..first + count).collect();
    let mut failed = Vec::new();

    for some in seeds.chunks(usize::try_from(AT_ONCE)?) {
        let all = some.iter().map(|seed| sequence(&world, *seed));
        let ended = futures_util::future::join_all(all).await;
        for (seed, ended) in some.iter().zip(ended) {
            if let Err(error) = ended {
                failed.push(format!("seed {seed}: {error:#}"));
            }
        }
    }

    ensure!(
        failed.is_empty(),
        "{}\n{}",
        failed.join("\n\n"),
        world.logs()?
    );
    Ok(())
}

async fn sequence(world: &World, seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut spec = first(&mut rng);
    let preview = Preview::new(world, seed).await?;
    preview.apply(&spec).await?;

    let mut done = Vec::new();
    for _ in 0..rng.random_range(2..8) {
        // Often while the last one is still under way.
        if rng.random_bool(0.4) {
            let ready = preview.settled(&spec).await;
            ready.with_context(|| format!("after {done:?}\n{spec:#}"))?;
        }
        let edit = Edit::any(&mut rng);
        done.push(edit);
        edit.make(&mut rng, &preview, &mut spec).await?;
    }

    // What is held back is not there if it is applied so.
    spec["paused"] = false.into();
    preview.apply(&spec).await?;

    let explain = || format!("after {done:?}\n{spec:#}");
    preview.settled(&spec).await.with_context(explain)?;
    let edited = preview.state().await?;
    preview.delete().await.with_context(explain)?;

    preview.apply(&spec).await?;
    preview.settled(&spec).await.with_context(explain)?;
    let fresh = preview.state().await?;
    ensure!(
        edited == fresh,
        "{}\n{}",
        explain(),
        state::difference(&edited, &fresh)
    );
    preview.delete().await.with_context(explain)
}

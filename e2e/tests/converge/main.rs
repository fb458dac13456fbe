//! Whatever was done to a preview, in whatever order and while whatever was under way: in the end it
//! is as if it had been applied so, and when it goes nothing of it is left, here and at Cloudflare.
//!
//! A real API server with its controllers, a real NATS, and the watcher, deployer and network
//! services. Builds and the kubelet are played: pods are ready at once, a connector's pod connects.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod deeds;
mod edits;
mod faults;
mod kubelet;
mod outside;
mod preview;
mod programs;
mod sequence;
#[path = "../../../services/watcher/tests/integration/services.rs"]
mod services;
mod state;
mod world;

use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::iter;

use preview::Preview;
use sequence::{Act, Sequence};
use world::World;

/// How many sequences are run, and with which seed the first begins.
const SEQUENCES: (&str, u64) = ("SEQUENCER_SEQUENCES", 200);
const SEED: (&str, u64) = ("SEQUENCER_SEED", 0);

/// How many run at once.
const AT_ONCE: usize = 12;

fn setting<T: FromStr + From<u64>>((name, default): (&str, u64)) -> T {
    let set = std::env::var(name).ok().and_then(|set| set.parse().ok());
    set.unwrap_or_else(|| default.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_converges() -> Result<()> {
    let world = World::new().await?;
    let (first, count): (u64, u64) = (setting(SEED), setting(SEQUENCES));

    let all = iter(first..first + count).map(|seed| {
        let world = &world;
        async move {
            let ended = run(world, seed).await;
            ended.err().map(|error| format!("seed {seed}: {error:#}"))
        }
    });
    let failed: Vec<_> = all
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    ensure!(
        failed.is_empty(),
        "{}\n{}",
        failed.join("\n\n"),
        world.programs.logs()?
    );
    Ok(())
}

async fn run(world: &World, seed: u64) -> Result<()> {
    let sequence = Sequence::of(seed);
    let preview = Preview::new(world, &format!("seed-{seed}")).await?;

    // As it is if it is applied so.
    preview.apply(&sequence.last).await?;
    preview
        .settled(&sequence.last)
        .await
        .with_context(|| format!("applied {}", sequence.last))?;
    let expected = preview.state().await?;
    preview
        .delete()
        .await
        .with_context(|| format!("applied {}", sequence.last))?;

    let done = perform(&preview, &sequence, &expected).await;
    done.with_context(|| sequence.to_string())
}

async fn perform(
    preview: &Preview<'_>,
    sequence: &Sequence,
    expected: &state::State,
) -> Result<()> {
    let mut spec = &sequence.first;
    preview.apply(spec).await?;

    for step in &sequence.steps {
        if step.waits {
            preview.settled(spec).await?;
        }
        match &step.act {
            Act::Edit(_edit, edited) => {
                spec = edited;
                preview.apply(spec).await?;
            }
            Act::Deed(deed, which) => deed.happen(preview, *which, spec).await?,
        }
    }

    preview.apply(&sequence.last).await?;
    preview.is(&sequence.last, expected).await?;
    preview.delete().await
}

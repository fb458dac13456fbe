//! How many objects the bench has, and how many of them are ready, from a watch.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::place::POOL;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(90);

/// So many there are, and are ready.
#[derive(Clone, Copy, Debug)]
struct Counts {
    there: usize,
    ready: usize,
}

/// Objects of a kind, followed as long as this lives.
pub(crate) struct Followed {
    /// None until they were listed.
    counts: watch::Receiver<Option<Counts>>,
    _task: JoinSet<()>,
}

impl Followed {
    /// Those with a label.
    pub(crate) fn new<K>(api: Api<K>, label: &str, is_ready: fn(&K) -> bool) -> Self
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let (counts, receiver) = watch::channel(None);
        let stream = watcher(api, Config::default().labels(label)).default_backoff();
        let mut task = JoinSet::new();

        task.spawn(async move {
            let mut ready: HashMap<(Option<String>, String), bool> = HashMap::new();
            let mut stream = std::pin::pin!(stream);

            let is_ours = |object: &K| {
                let namespace = object.namespace();
                namespace.is_some_and(|namespace| namespace.starts_with(POOL))
            };

            let mut is_listed = false;
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) if is_ours(&object) => {
                        ready.insert((object.namespace(), object.name_any()), is_ready(&object));
                    }
                    Ok(Event::Delete(object)) => {
                        ready.remove(&(object.namespace(), object.name_any()));
                    }
                    Ok(Event::Init) => ready.clear(),
                    Ok(Event::InitDone) => is_listed = true,
                    Ok(_) | Err(_) => {}
                }
                let now = Counts {
                    there: ready.len(),
                    ready: ready.values().filter(|ready| **ready).count(),
                };
                counts.send_replace(is_listed.then_some(now));
            }
        });

        Self {
            counts: receiver,
            _task: task,
        }
    }

    pub(crate) async fn are_there(&self, count: usize) -> Result<()> {
        self.wait(|counts| counts.there == count).await
    }

    pub(crate) async fn are_ready(&self, count: usize) -> Result<()> {
        self.wait(|counts| counts.ready == count).await
    }

    async fn wait(&self, holds: impl Fn(&Counts) -> bool) -> Result<()> {
        let mut counts = self.counts.clone();
        let found = timeout(
            PATIENCE,
            counts.wait_for(|counts| counts.as_ref().is_some_and(&holds)),
        )
        .await;
        let now = *self.counts.borrow();
        found.with_context(|| format!("it takes too long: {now:?}"))??;
        Ok(())
    }
}

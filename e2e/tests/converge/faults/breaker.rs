//! Knows whose act each request is, counts them, and says which of them breaks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use kube::api::DeleteParams;
use kube::{Api, Client};
use sequencer_api::Workspace;
use tokio::sync::Notify;

use super::plan::{Act, Fault, Plan, Point, Port, When};
use crate::preview::Preview;
use crate::programs::{Programs, Service};
use crate::world::World;

/// A preview whose acts are counted.
#[derive(Debug)]
struct Life {
    /// Any text that has one of these is about it: its namespace, the uid of its Workspace, the ids
    /// that Cloudflare gave.
    marks: HashSet<String>,
    /// The paths of its objects.
    paths: HashSet<String>,
    acts: HashMap<Act, u32>,
    /// What is still to come.
    plans: Vec<Plan>,
    namespace: String,
    ended: Arc<Notify>,
}

/// What it breaks with.
struct Means {
    programs: Arc<Programs>,
    /// A person's, which nobody breaks.
    client: Client,
}

/// Something that a service asks for.
pub(crate) struct Asked<'a> {
    pub(crate) act: Act,
    /// The path of its object, or the subject.
    pub(crate) path: &'a str,
    /// Whether that is of one object: all are created at the same path.
    pub(crate) is_named: bool,
    pub(crate) body: &'a [u8],
}

#[derive(Default)]
pub(crate) struct Breaker {
    lives: Mutex<Vec<Life>>,
    means: OnceLock<Means>,
}

impl Breaker {
    /// The world that it may break.
    pub(crate) fn control(&self, world: &World) -> Result<()> {
        let set = self.means.set(Means {
            programs: world.programs.clone(),
            client: world.client.clone(),
        });
        set.ok().context("it has one already")
    }

    fn means(&self) -> Result<&Means> {
        self.means.get().context("no world yet")
    }

    pub(crate) fn person(&self) -> Result<Client> {
        Ok(self.means()?.client.clone())
    }

    pub(crate) async fn kill(&self, service: Service) -> Result<()> {
        self.means()?.programs.restart(service).await
    }

    /// Deletes the Workspace of a life, which knows it before.
    pub(crate) async fn end(&self, number: usize) -> Result<()> {
        let life = self.with(|lives| {
            let life = lives.get(number)?;
            life.ended.notify_one();
            Some(life.namespace.clone())
        });
        let all = Api::<Workspace>::namespaced(self.person()?, &life.context("no life")?);
        match all.delete(Preview::NAME, &DeleteParams::default()).await {
            // It is gone already.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    /// Waits until somebody ends a life.
    pub(crate) async fn ended(&self, number: usize) {
        let ended = self.with(|lives| lives.get(number).map(|life| life.ended.clone()));
        match ended {
            Some(ended) => ended.notified().await,
            None => std::future::pending().await,
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Vec<Life>) -> R) -> R {
        change(&mut self.lives.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A life begins in this namespace, and breaks as planned. Its number.
    pub(crate) fn begin(&self, namespace: &str, plans: Vec<Plan>) -> usize {
        self.with(|lives| {
            lives.push(Life {
                marks: [namespace.to_owned()].into(),
                paths: HashSet::new(),
                acts: HashMap::new(),
                plans,
                namespace: namespace.to_owned(),
                ended: Arc::default(),
            });
            lives.len() - 1
        })
    }

    /// Counts what is asked for; the number of the life that it belongs to, and what happens to it.
    pub(crate) fn asked(&self, asked: Asked<'_>) -> Option<(usize, Option<(When, Fault)>)> {
        self.with(|lives| {
            let number = lives.iter().position(|life| life.is_about(&asked))?;
            let life = lives.get_mut(number)?;
            if asked.is_named {
                life.paths.insert(asked.path.to_owned());
            }

            let ordinal = life.acts.entry(asked.act.clone()).or_default();
            *ordinal += 1;
            let point = Point {
                act: asked.act,
                ordinal: *ordinal,
            };
            let planned = life.plans.iter().position(|plan| plan.point == point);
            let breaks = planned.map(|at| life.plans.swap_remove(at));
            Some((number, breaks.map(|plan| (plan.when, plan.fault))))
        })
    }

    /// Whatever has this text is about the life from now on.
    pub(crate) fn mark(&self, number: usize, mark: &str) {
        self.with(|lives| {
            if let Some(life) = lives.get_mut(number) {
                life.marks.insert(mark.to_owned());
            }
        });
    }

    /// The plans of a life that did not come to their points.
    pub(crate) fn missed(&self, number: usize) -> Vec<Plan> {
        self.with(|lives| lives.get(number).map(|life| life.plans.clone()))
            .unwrap_or_default()
    }

    /// How often something was changed in a life. What messages ask for is looked at.
    pub(crate) fn changes(&self, number: usize) -> u32 {
        self.with(|lives| {
            let acts = lives.get(number).into_iter().flat_map(|life| &life.acts);
            let changes = acts.filter(|(act, _count)| act.port != Port::Nats);
            changes.map(|(_act, count)| count).sum()
        })
    }

    /// What was done in a life.
    pub(crate) fn points(&self, number: usize) -> BTreeSet<Point> {
        self.with(|lives| {
            let acts = lives.get(number).into_iter().flat_map(|life| &life.acts);
            acts.flat_map(|(act, count)| {
                (1..=*count).map(|ordinal| Point {
                    act: act.clone(),
                    ordinal,
                })
            })
            .collect()
        })
    }
}

impl Life {
    fn is_about(&self, asked: &Asked<'_>) -> bool {
        let body = String::from_utf8_lossy(asked.body);
        let mut marks = self.marks.iter();
        self.paths.contains(asked.path)
            || marks.any(|mark| asked.path.contains(mark) || body.contains(mark))
    }
}

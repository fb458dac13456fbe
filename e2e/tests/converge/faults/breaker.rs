//! Knows whose act each request is, counts them, and says which of them breaks.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};

use super::plan::{Act, Fault, Plan, Point, Port, When};
use crate::programs::{Programs, Service};

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

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    lives: Mutex<Vec<Life>>,
    programs: OnceLock<Arc<Programs>>,
}

impl Breaker {
    /// The services that it may kill.
    pub(crate) fn control(&self, programs: &Arc<Programs>) -> Result<()> {
        let set = self.programs.set(programs.clone());
        set.ok().context("it has them already")
    }

    pub(crate) async fn kill(&self, service: Service) -> Result<()> {
        let programs = self.programs.get().context("no services yet")?;
        programs.restart(service).await
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

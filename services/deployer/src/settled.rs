//! Which Components need no second look at what surrounds their pods: their Services and policies
//! were as planned when they were looked at last, and nothing was heard of these since. Most
//! reconciles are about pods alone, and reading the rest again and again is most of what they cost.
//!
//! Nothing is stored: a process that begins anew looks at everything once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What was heard up to a moment of the objects that belong to a Component, or to its Workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    all: u64,
    of_component: u64,
    of_workspace: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Whether anything would be heard.
    follows: bool,
    /// How often something may have been missed.
    all: u64,
    /// How often something was heard, by the owner's uid.
    heard: HashMap<String, u64>,
    /// By the Component's uid, the plan that everything was as, and what was heard before it was
    /// looked at.
    settled: HashMap<String, (String, Heard)>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Settled(Mutex<State>);

impl Settled {
    /// From now on each change is heard. What was looked at before may have changed since.
    pub(crate) fn follow(&self) {
        self.with(|state| {
            state.follows = true;
            state.all += 1;
        });
    }

    /// An object of this owner changed.
    pub(crate) fn hear(&self, owner: &str) {
        self.with(|state| *state.heard.entry(owner.into()).or_default() += 1);
    }

    /// Changes may have been missed.
    pub(crate) fn hear_all(&self) {
        self.with(|state| state.all += 1);
    }

    /// A Component or Workspace is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.with(|state| {
            state.heard.remove(uid);
            state.settled.remove(uid);
        });
    }

    /// What was heard until now. It has to be asked for before anything is read.
    pub(crate) fn heard(&self, component: &str, workspace: &str) -> Heard {
        self.with(|state| {
            let of = |uid: &str| state.heard.get(uid).copied().unwrap_or_default();
            Heard {
                all: state.all,
                of_component: of(component),
                of_workspace: of(workspace),
            }
        })
    }

    /// Whether everything was as in this plan, and nothing was heard since.
    pub(crate) fn is_settled(&self, component: &str, plan: &str, heard: Heard) -> bool {
        self.with(|state| {
            let settled = state.settled.get(component);
            state.follows && settled.is_some_and(|(was, then)| was == plan && *then == heard)
        })
    }

    /// Everything is as in this plan, by what was read after `heard`.
    pub(crate) fn settle(&self, component: &str, plan: String, heard: Heard) {
        self.with(|state| state.settled.insert(component.into(), (plan, heard)));
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a Component that was settled as planned still is, after this.
    fn stays(then: impl FnOnce(&Settled)) -> bool {
        let settled = Settled::default();
        settled.follow();
        let heard = settled.heard("c", "w");
        settled.settle("c", "plan".into(), heard);
        then(&settled);
        settled.is_settled("c", "plan", settled.heard("c", "w"))
    }

    #[test]
    fn what_was_looked_at_is_settled_until_something_is_heard_of_it() {
        assert!(stays(|_settled| ()));
        assert!(stays(|settled| settled.hear("another")));
        assert!(!stays(|settled| settled.hear("c")));
        assert!(!stays(|settled| settled.hear("w")));
        assert!(!stays(Settled::hear_all));
        assert!(!stays(|settled| settled.forget("c")));
    }

    #[test]
    fn another_plan_and_what_is_heard_while_it_is_looked_at_are_looked_at_again() {
        let settled = Settled::default();
        settled.follow();
        let heard = settled.heard("c", "w");
        settled.hear("c");
        settled.settle("c", "plan".into(), heard);
        assert!(!settled.is_settled("c", "plan", settled.heard("c", "w")));

        settled.settle("c", "plan".into(), settled.heard("c", "w"));
        assert!(settled.is_settled("c", "plan", settled.heard("c", "w")));
        assert!(!settled.is_settled("c", "another", settled.heard("c", "w")));
    }

    #[test]
    fn nothing_is_settled_as_long_as_nothing_would_be_heard() {
        let settled = Settled::default();
        settled.settle("c", "plan".into(), settled.heard("c", "w"));
        assert!(!settled.is_settled("c", "plan", settled.heard("c", "w")));
        settled.follow();
        assert!(!settled.is_settled("c", "plan", settled.heard("c", "w")));
    }
}

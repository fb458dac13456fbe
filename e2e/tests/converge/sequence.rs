//! What is done to a preview, by a seed: the same whenever it is asked.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::deeds::Deed;
use crate::edits::{Edit, first};

/// How often something is drawn until it changes anything.
const DRAWS: usize = 50;

/// Something that is done.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// The spec is applied as an edit left it.
    Edit(Edit, Value),
    /// Something happens to objects or services. The number chooses which.
    Deed(Deed, usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Whether it waits for what was done before.
    pub(crate) waits: bool,
    pub(crate) act: Act,
}

#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) first: Value,
    pub(crate) steps: Vec<Step>,
    /// What is applied in the end.
    pub(crate) last: Value,
}

impl Sequence {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let first = first(seed, &mut rng);

        let (mut spec, mut steps) = (first.clone(), Vec::new());
        for _ in 0..rng.random_range(2..9) {
            let waits = rng.random_bool(0.4);
            let act = if rng.random_bool(0.3) {
                Act::Deed(Deed::any(&mut rng), rng.random_range(0..100))
            } else {
                let edit = edit(&mut rng, &mut spec);
                Act::Edit(edit, spec.clone())
            };
            steps.push(Step { waits, act });
        }

        // What is held back is not there if it is applied so.
        spec["paused"] = false.into();
        Self {
            first,
            steps,
            last: spec,
        }
    }
}

/// Makes an edit that changes something.
fn edit(rng: &mut StdRng, spec: &mut Value) -> Edit {
    for _ in 0..DRAWS {
        let edit = Edit::any(rng);
        let before = spec.clone();
        edit.make(rng, spec);
        if *spec != before {
            return edit;
        }
    }
    Edit::Ttl
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from {}", self.first)?;
        for step in &self.steps {
            let waits = if step.waits {
                "once that is ready, "
            } else {
                ""
            };
            match &step.act {
                Act::Edit(edit, _spec) => writeln!(f, "  {waits}{edit:?}")?,
                Act::Deed(deed, which) => writeln!(f, "  {waits}{deed:?} of the {which}.")?,
            }
        }
        write!(f, "to {}", self.last)
    }
}

//! The pools of builders, and who may name them. Pure.

use std::str::FromStr;

use sequencer_api::code::Code;
use sequencer_api::host::Refusal;
use sequencer_api::pool::Access;
use sequencer_proto::topics::{Malformed, Pool};

/// A pool as the chart has it: `large`, or `large=team-*|ops` where it is open to these namespaces
/// alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPool {
    pub pool: Pool,
    open_to: Access,
}

impl FromStr for OpenPool {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (name, namespaces) = text
            .split_once('=')
            .map_or((text, None), |(name, rest)| (name, Some(rest)));
        let patterns: Vec<_> = namespaces
            .iter()
            .flat_map(|all| all.split('|'))
            .map(ToOwned::to_owned)
            .collect();
        // An empty one would close the pool to everybody, and is a mistake.
        if patterns.iter().any(String::is_empty) {
            return Err(Malformed);
        }

        Ok(Self {
            pool: name.parse()?,
            open_to: Access::new(&patterns),
        })
    }
}

/// The pool of this name, as far as it is open to the namespace.
///
/// # Errors
/// There is none. It names only those that are open: the others are nobody else's business.
pub fn open(pools: &[OpenPool], name: &str, namespace: &str) -> Result<Pool, Refusal> {
    let open = pools
        .iter()
        .filter(|pool| pool.open_to.contains(namespace))
        .map(|pool| &pool.pool);
    let open: Vec<_> = open.collect();
    if let Some(pool) = open.iter().find(|pool| pool.as_str() == name) {
        return Ok((*pool).clone());
    }

    let names: Vec<_> = open.into_iter().map(Pool::as_str).collect();
    let names = if names.is_empty() {
        "none is".into()
    } else {
        names.join(", ")
    };

    Err(Refusal {
        code: Code::PoolNotOpen,
        message: format!("no pool {name:?} is open to the namespace {namespace}; open: {names}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> [OpenPool; 3] {
        ["default", "large=team-*|ops", "secret-project=ops"].map(|text| text.parse().unwrap())
    }

    #[test]
    fn a_pool_is_found_by_those_that_it_is_open_to() {
        for (name, namespace, wanted) in [
            ("default", "anybody", true),
            ("large", "team-a", true),
            ("large", "ops", true),
            ("large", "other", false),
            ("secret-project", "team-a", false),
            ("none", "ops", false),
        ] {
            assert_eq!(
                open(&pools(), name, namespace).is_ok(),
                wanted,
                "{name} {namespace}"
            );
        }
    }

    #[test]
    fn nobody_is_told_of_pools_that_are_not_open() {
        let Refusal { code, message } = open(&pools(), "secret-project", "team-a").unwrap_err();
        assert_eq!(code, Code::PoolNotOpen);
        assert!(message.ends_with("open: default, large"), "{message}");
        // Whether it exists makes no difference.
        assert_eq!(
            message.replace("secret-project", "x"),
            open(&pools(), "x", "team-a").unwrap_err().message
        );

        let none = open(&[], "x", "team-a").unwrap_err().message;
        assert!(none.ends_with("open: none is"), "{none}");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for wrong in ["", "Large", "large=", "large=a||b", "=a", "large=a|"] {
            assert!(wrong.parse::<OpenPool>().is_err(), "{wrong}");
        }
    }
}

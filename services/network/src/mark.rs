//! The mark that says whose something is at a provider: without it, nothing there is ever touched.

use std::fmt;
use std::str::FromStr;

/// `seq:v1:<cluster id>:<uid>`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub cluster: String,
    pub owner: String,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq:v1:{}:{}", self.cluster, self.owner)
    }
}

/// The text is no mark of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

impl FromStr for Mark {
    type Err = Foreign;

    fn from_str(text: &str) -> Result<Self, Foreign> {
        let (cluster, owner) = text
            .strip_prefix("seq:v1:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or(Foreign)?;
        if cluster.is_empty() || owner.is_empty() || owner.contains(':') {
            return Err(Foreign);
        }

        Ok(Self {
            cluster: cluster.into(),
            owner: owner.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written_and_nothing_else_is_one() {
        let mark = Mark {
            cluster: "c1".into(),
            owner: "5f1f9b62-4d5c".into(),
        };

        assert_eq!(mark.to_string().parse(), Ok(mark));
        for wrong in [
            "",
            "seq:v1:c1",
            "seq:v1::u",
            "seq:v1:c:",
            "seq:v2:c:u",
            "seq:v1:c:u:x",
            "heritage=external-dns",
        ] {
            assert_eq!(wrong.parse::<Mark>(), Err(Foreign), "{wrong}");
        }
    }
}

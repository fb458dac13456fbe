//! Subjects as types: what is built here parses here, and nothing else does.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use uuid::Uuid;

use super::{Consumer, Kind, Pool, Service, Verb};
use crate::v1::{CommandPayload, Trigger};

/// In the place of a pool where a verb has none.
pub(super) const NO_POOL: &str = "_";

/// It is no subject or word of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a word or subject of Sequencer's bus")]
pub struct Malformed;

/// The subject of a [`CommandPayload`]: one object, one verb. The stream keeps only the newest message of
/// each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    verb: Verb,
    pool: Option<Pool>,
    workspace: Uuid,
    uid: Uuid,
}

impl Command {
    /// A command about the object `uid` of a Workspace; an object without one gives its own uid for
    /// `workspace`.
    ///
    /// # Errors
    /// The verb is one of the builder's and there is no pool, or the other way round.
    pub fn new(
        verb: Verb,
        pool: Option<Pool>,
        workspace: Uuid,
        uid: Uuid,
    ) -> Result<Self, Malformed> {
        if verb.pooled() == pool.is_some() {
            Ok(Self {
                verb,
                pool,
                workspace,
                uid,
            })
        } else {
            Err(Malformed)
        }
    }

    /// What to look at the object for.
    #[must_use]
    pub fn verb(&self) -> Verb {
        self.verb
    }

    /// The Workspace's uid.
    #[must_use]
    pub fn workspace(&self) -> Uuid {
        self.workspace
    }

    /// The object's uid.
    #[must_use]
    pub fn uid(&self) -> Uuid {
        self.uid
    }

    /// The consumer that gets it.
    #[must_use]
    pub fn consumer(&self) -> Consumer {
        Consumer::of(self.verb, self.pool.as_ref())
    }

    /// Returns its payload.
    #[must_use]
    pub fn payload(&self, namespace: &str, name: &str, trigger: Trigger) -> CommandPayload {
        CommandPayload {
            uid: self.uid.to_string(),
            kind: self.verb.kind().to_string(),
            verb: self.verb.to_string(),
            namespace: namespace.into(),
            name: name.into(),
            workspace_uid: self.workspace.to_string(),
            trigger: trigger.into(),
            asked: String::new(),
        }
    }

    /// Whether a payload says the same as this subject. One that does not was not made by us.
    #[must_use]
    pub fn agrees(&self, payload: &CommandPayload) -> bool {
        payload.uid == self.uid.to_string()
            && payload.kind == self.verb.kind().word()
            && payload.verb == self.verb.word()
            && payload.workspace_uid == self.workspace.to_string()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            pool,
            workspace,
            uid,
        } = self;
        let pool = pool.as_ref().map_or(NO_POOL, Pool::as_str);

        write!(
            f,
            "seq.v1.cmd.{}.{verb}.{pool}.{workspace}.{}.{uid}",
            verb.service(),
            verb.kind()
        )
    }
}

impl FromStr for Command {
    type Err = Malformed;

    fn from_str(subject: &str) -> Result<Self, Malformed> {
        let [service, verb, pool, workspace, kind, uid] = tokens(subject, "seq.v1.cmd.")?;
        let verb: Verb = verb.parse()?;
        if service != verb.service().word() || kind != verb.kind().word() {
            return Err(Malformed);
        }

        let pool = if pool == NO_POOL {
            None
        } else {
            Some(pool.parse()?)
        };

        Self::new(verb, pool, uuid(workspace)?, uuid(uid)?)
    }
}

/// The subject of a [`Progress`](crate::v1::Progress).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// The Workspace's uid, or the object's own.
    pub workspace: Uuid,
    /// Who says it.
    pub service: Service,
    /// The object's kind.
    pub kind: Kind,
    /// The object's uid.
    pub uid: Uuid,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workspace,
            service,
            kind,
            uid,
        } = self;
        write!(f, "seq.v1.evt.{workspace}.{service}.{kind}.{uid}")
    }
}

impl FromStr for Event {
    type Err = Malformed;

    fn from_str(subject: &str) -> Result<Self, Malformed> {
        let [workspace, service, kind, uid] = tokens(subject, "seq.v1.evt.")?;
        Ok(Self {
            workspace: uuid(workspace)?,
            service: service.parse()?,
            kind: kind.parse()?,
            uid: uuid(uid)?,
        })
    }
}

/// The subject of a [`Log`](crate::v1::Log).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildLog {
    /// The Workspace's uid, or the Build's own.
    pub workspace: Uuid,
    /// The Build's uid.
    pub build: Uuid,
}

impl fmt::Display for BuildLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq.v1.log.{}.{}", self.workspace, self.build)
    }
}

impl FromStr for BuildLog {
    type Err = Malformed;

    fn from_str(subject: &str) -> Result<Self, Malformed> {
        let [workspace, build] = tokens(subject, "seq.v1.log.")?;
        Ok(Self {
            workspace: uuid(workspace)?,
            build: uuid(build)?,
        })
    }
}

/// Exactly `N` tokens behind a prefix.
fn tokens<'a, const N: usize>(subject: &'a str, prefix: &str) -> Result<[&'a str; N], Malformed> {
    let rest = subject.strip_prefix(prefix).ok_or(Malformed)?;
    let tokens: Vec<_> = rest.split('.').collect();
    tokens.try_into().map_err(|_tokens: Vec<_>| Malformed)
}

/// A uid as Kubernetes writes it; the other spellings of a UUID would be other subjects of the same
/// object.
fn uuid(token: &str) -> Result<Uuid, Malformed> {
    let uuid = Uuid::try_parse(token).map_err(|_error| Malformed)?;
    if uuid.to_string() == token {
        Ok(uuid)
    } else {
        Err(Malformed)
    }
}

//! What breaks where: the points of a life at which a service acts on the world, and what may happen
//! to it at each.

use std::fmt;

use crate::programs::Service;

/// What a service acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Port {
    Kubernetes,
    Nats,
    Cloudflare,
}

/// One kind of act of one service, such as `PATCH components/status`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Act {
    pub(crate) service: Service,
    pub(crate) port: Port,
    pub(crate) what: String,
}

/// One act in a life: the first, second ... of its kind, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) act: Act,
    pub(crate) ordinal: u32,
}

/// When it breaks: before the act is done, or when it is done and not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The service dies of SIGKILL, and is started again.
    Kill,
    /// The connection breaks, and no answer comes.
    Cut,
    /// No answer comes.
    Hang,
    /// It is answered with this status.
    Status(u16),
    /// It takes longer than is waited for.
    Late,
    /// It comes a second time.
    Twice,
    /// NATS loses all commands.
    Wipe,
    /// Somebody deletes the object.
    Deleted,
    /// Somebody changes the object.
    Edited,
    /// Somebody deletes the Workspace.
    Ended,
    /// Somebody deletes the Workspace, and the service dies of SIGKILL.
    EndedAndKill,
}

/// One point, broken in one way.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) point: Point,
    pub(crate) when: When,
    pub(crate) fault: Fault,
}

impl Plan {
    /// Every way to break a point.
    pub(crate) fn all(point: &Point) -> impl Iterator<Item = Self> + '_ {
        let (before, after) = point.act.faults();
        let before = before.into_iter().map(|fault| (When::Before, fault));
        let after = after.into_iter().map(|fault| (When::After, fault));
        before.chain(after).map(|(when, fault)| Self {
            point: point.clone(),
            when,
            fault,
        })
    }
}

impl Fault {
    /// Whether all lives notice it.
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Kill | Self::EndedAndKill | Self::Wipe)
    }

    /// Whether nothing comes after it but the end.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Ended | Self::EndedAndKill)
    }
}

impl Act {
    /// What may happen before it, and after it.
    fn faults(&self) -> (Vec<Fault>, Vec<Fault>) {
        use Fault::{
            Cut, Deleted, Edited, Ended, EndedAndKill, Hang, Kill, Late, Status, Twice, Wipe,
        };
        let before = match self.port {
            Port::Kubernetes => {
                let refused = [409, 429, 500, 503].map(Status);
                [&[Kill, Cut, Hang, Ended][..], &refused].concat()
            }
            Port::Cloudflare => {
                let refused = [429, 500, 503].map(Status);
                [&[Kill, Cut, Hang, Ended][..], &refused].concat()
            }
            Port::Nats => vec![Kill, Cut, Hang, Late, Twice, Wipe, Ended],
        };
        // What is created is not there yet, and who deletes the Workspace ends the life.
        let is_there = self.port == Port::Kubernetes && !self.what.starts_with("POST");
        let edited = is_there.then_some(Edited);
        let deleted = (is_there && !self.what.contains(" workspaces")).then_some(Deleted);
        // An answer that does not come at all ends as one whose connection breaks does.
        let after = match self.port {
            Port::Nats => vec![Kill, Cut, Hang, EndedAndKill],
            Port::Kubernetes | Port::Cloudflare => vec![Kill, Cut, EndedAndKill],
        };
        (
            before.into_iter().chain(edited).chain(deleted).collect(),
            after,
        )
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}: {}", self.service.name(), self.port, self.what)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, when, fault } = self;
        write!(f, "{} #{}, {when:?} {fault:?}", point.act, point.ordinal)
    }
}

//! Previews on their way.

use anyhow::{Context as _, Result, ensure};
use lab::testing::PATIENCE;
use lab::until::until;

use crate::user::User;

/// How far a preview is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Applied,
    Building,
    Pushing,
    TunnelMade,
    Ready,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] = [
        Self::Applied,
        Self::Building,
        Self::Pushing,
        Self::TunnelMade,
        Self::Ready,
    ];

    /// A step that makes this stage long enough to be met.
    fn step(self) -> &'static str {
        match self {
            Self::Building | Self::TunnelMade => "RUN sleep 20",
            Self::Pushing => "RUN head -c 100M /dev/urandom > /tmp/much",
            Self::Applied | Self::Ready => "",
        }
    }

    fn wait(self, user: &User, name: &str) -> Result<()> {
        let workspace = format!("workspace/{name}");
        let is = |what: &str, object: &dyn Fn() -> Result<String>, path: &str, value: &str| {
            // Builds of one pool come one after the other, and those of other tests are among them.
            until(&format!("{name} is {what}"), PATIENCE * 3, || {
                let found = user.field(&object()?, path)?;
                ensure!(
                    found.contains(value) && !found.is_empty(),
                    "it is {found:?}"
                );
                Ok(())
            })
        };

        let build = || user.build(name).context("no Build");

        match self {
            Self::Applied => Ok(()),
            Self::Building => is("building", &build, ".status.image.state", "InProgress"),
            Self::Pushing => is("pushing", &build, ".status.image.state", "Completed"),
            Self::TunnelMade => is(
                "behind a tunnel",
                &|| Ok(workspace.clone()),
                ".status.tunnel.id",
                "",
            ),
            Self::Ready => user.wait_ready(name),
        }
    }
}

/// Makes a preview and waits until it is so far; returns its uid and host.
pub(crate) fn reach(user: &User, name: &str, stage: Stage) -> Result<(String, String)> {
    user.push_step(name, &format!("{}\n# {name}", stage.step()))?;
    user.apply_with_tunnel(name)?;
    stage.wait(user, name)?;
    until("it has a host", PATIENCE, || {
        let (uid, host) = user.marks(name)?;
        ensure!(
            matches!(stage, Stage::Applied) || !host.is_empty(),
            "it has none"
        );
        // The host of one that was only just applied is not known yet; it begins with the name.
        Ok((uid, if host.is_empty() { name.into() } else { host }))
    })
}

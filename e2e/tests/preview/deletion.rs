//! Deleted at any moment, a Workspace leaves nothing.

use std::thread;

use anyhow::{Context as _, Result};
use lab::release::TENANTS;

use crate::stage::{Stage, reach};
use crate::user::{User, unique};

#[test]
fn a_workspace_deleted_at_any_stage_leaves_nothing() -> Result<()> {
    let user = &User::of(TENANTS[0])?;
    let delete = |stage: Stage| {
        let name = &unique(&format!("{stage:?}").to_lowercase());
        let (uid, host) = reach(user, name, stage)?;
        user.delete(name)?;
        user.wait_gone(&uid, &host)
            .with_context(|| format!("deleted when it was {stage:?}"))
    };

    thread::scope(|scope| {
        let all = Stage::ALL.map(|stage| scope.spawn(move || delete(stage)));
        all.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

#[test]
fn a_namespace_that_is_deleted_takes_its_workspaces_along() -> Result<()> {
    let namespace = TENANTS[1];
    let user = User::of(namespace)?;
    let mut marks = Vec::new();

    for stage in [Stage::Ready, Stage::Building] {
        marks.push(reach(&user, &unique("doomed"), stage)?);
    }

    user.cluster
        .kubectl(&["delete", "namespace", namespace, "--timeout=180s"])?;

    for (uid, host) in marks {
        user.wait_gone(&uid, &host)?;
    }

    // The next test finds its tenant, with our rights in it.
    user.cluster.provide_credentials(&user.secrets)?;
    user.cluster.install_chart(&user.cluster.installed_values())
}

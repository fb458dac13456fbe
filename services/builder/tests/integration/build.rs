//! `build` on a real API server, with real git, BuildKit and registry.

mod cache;
mod claims;
mod failures;

use anyhow::Result;
use serde_json::{Value, json};

use crate::harness::Harness;
use crate::repository::Repository;

const DOCKERFILE: &str = "FROM app-base:bookworm\nARG WHO\nCOPY x /x\nRUN echo $WHO >> /x\n";

/// A repository whose Dockerfile is this, and a commit of it.
async fn repository(harness: &Harness, dockerfile: &str) -> Result<(Repository, String)> {
    harness
        .secret("git", &[("token", &harness.secrets.git_token)])
        .await?;
    let repository = Repository::new(&harness.layout, &[("Dockerfile", dockerfile)])?;
    let commit = repository.commit("main", &[("x", "1")])?;
    Ok((repository, commit))
}

fn spec(repository: &Repository, commit: &str, more: Value) -> Value {
    Harness::spec(
        &repository.url(),
        json!({"ref": "main", "commit": commit}),
        more,
    )
}

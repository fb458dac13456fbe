//! git against the server that plays github.com.

mod files;
mod logins;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use data_encoding::BASE64;
use lab::layout::{Layout, text};
use lab::parts::git as server;
use lab::process::output;
use lab::secrets::Secrets;
use lab::testing::layout;
use sequencer_api::code::Code;
use sequencer_api::secret::AuthScheme;
use sequencer_builder::git::{Address, Error, Git, Limits, Login, Pick, Remote, Settings};
use sequencer_runtime::egress::{Args, EgressGuard};
use serde_json::json;
use tempfile::TempDir;

const SSH: &str = "git@github.com:myuser/myapp.git";

const HTTPS: &str = "https://github.com/myuser/myapp.git";

/// git with folders of its own.
struct Harness {
    layout: Layout,
    secrets: Secrets,
    folder: TempDir,
    limits: Limits,
    allowed: &'static str,
}

impl Harness {
    fn new() -> Result<Self> {
        let layout = layout()?;
        let secrets = Secrets::ensure(&layout)?;

        Ok(Self {
            layout,
            secrets,
            folder: tempfile::tempdir()?,
            limits: Limits::default(),
            allowed: "198.18.0.0/15",
        })
    }

    fn git(&self) -> Result<Git> {
        let folder = |name: &str| -> Result<PathBuf> {
            let path = self.folder.path().join(name);
            std::fs::create_dir_all(&path)?;
            Ok(path)
        };

        let args = Args {
            ca_bundle: Some(self.layout.ca_bundle()),
            egress_allowed: vec![self.allowed.parse()?],
        };

        let (data, logins, limits) = (folder("data")?, folder("logins")?, self.limits);
        let settings = Settings {
            data,
            logins,
            known_hosts: None,
            ca_bundle: args.ca_bundle.clone(),
            limits,
        };

        Ok(Git::new(settings, EgressGuard::new(&args)?))
    }

    fn key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(server::deploy_key(&self.layout))?)
    }

    fn known_hosts(&self) -> Result<String> {
        server::known_hosts(&self.layout)
    }

    fn ssh(&self) -> Result<Remote> {
        remote_of(
            SSH,
            &[
                ("privateKey", &self.key()?),
                ("known_hosts", &self.known_hosts()?),
            ],
        )
    }

    fn https(&self) -> Result<Remote> {
        remote_of(HTTPS, &[("token", &self.secrets.git_token)])
    }

    /// The commit of the server's branch.
    fn head(&self) -> Result<String> {
        let repository = text(server::repository(&self.layout));
        let safe = format!("safe.directory={repository}");

        Ok(output(Command::new("git").args([
            "-c",
            &safe,
            "-C",
            &repository,
            "rev-parse",
            server::BRANCH,
        ]))?
        .trim()
        .into())
    }

    /// Nothing of a call is left in the folder of logins.
    fn is_clean(&self) -> bool {
        std::fs::read_dir(self.folder.path().join("logins"))
            .unwrap()
            .next()
            .is_none()
    }
}

fn remote_of(url: &str, keys: &[(&str, &str)]) -> Result<Remote> {
    let data: serde_json::Map<_, _> = keys
        .iter()
        .map(|(key, value)| ((*key).into(), json!(BASE64.encode(value.as_bytes()))))
        .collect();
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(
        json!({"metadata": {"name": "git", "namespace": "test"}, "data": data}),
    )?;
    let (login, address) = Login::read(
        AuthScheme::Token,
        &secret.into(),
        &Address::parse(url).unwrap(),
    )?;
    Ok(Remote { address, login })
}

/// A commit of a repository, in the mirror of one namespace.
fn pick<'a>(remote: &'a Remote, commit: &'a str) -> Pick<'a> {
    Pick {
        namespace: "test",
        remote,
        commit,
        reference: None,
        depth: 1,
    }
}

fn code<T>(result: Result<T, Error>) -> Option<Code> {
    result.err().map(|error| error.code())
}

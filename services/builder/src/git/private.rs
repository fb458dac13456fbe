//! What a git process is given, in files that it alone may read: nothing of it stands in an argument
//! or a variable. The folder goes with the value.

use std::fmt::Write as _;
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::process::Command;

use super::login::With;
use super::programs::PATH;
use super::{Address, Error, Login, Settings, Transport};

/// Host keys of the big hosts, as they publish them.
const KNOWN_HOSTS: &str = include_str!("known_hosts");

/// The system's certificate authorities.
const AUTHORITIES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem"];

/// A folder with a configuration of git and one of ssh.
#[derive(Debug)]
pub(super) struct Private {
    folder: TempDir,
}

impl Private {
    /// For one server: what it is shown, at which address it is, how it is known.
    pub(super) async fn new(
        settings: &Settings,
        login: &Login,
        address: &Address,
        at: IpAddr,
    ) -> Result<Self, Error> {
        let private = Self {
            folder: TempDir::with_prefix_in("git-", &settings.logins).map_err(Error::Files)?,
        };

        std::fs::set_permissions(private.path(), Permissions::from_mode(0o700))
            .map_err(Error::Files)?;

        let config = match address.transport {
            Transport::Https => private.https(settings, login, address, at)?,
            Transport::Ssh => private.ssh(settings, login, address, at).await?,
        };

        private.write("gitconfig", &config)?;
        Ok(private)
    }

    /// For git on local folders alone.
    pub(super) fn local(settings: &Settings) -> Result<Self, Error> {
        let private = Self {
            folder: TempDir::with_prefix_in("git-", &settings.logins).map_err(Error::Files)?,
        };

        private.write(
            "gitconfig",
            "[protocol \"file\"]\n\tallow = always\n[safe]\n\tdirectory = *\n",
        )?;
        Ok(private)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// git's own configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.path().join("gitconfig")
    }

    /// ssh's configuration file.
    pub(super) fn ssh_config(&self) -> PathBuf {
        self.path().join("ssh_config")
    }

    fn https(
        &self,
        settings: &Settings,
        login: &Login,
        address: &Address,
        at: IpAddr,
    ) -> Result<String, Error> {
        let at = if at.is_ipv6() {
            format!("[{at}]")
        } else {
            at.to_string()
        };

        let mut config = format!(
            "[http]\n\tcurloptResolve = {}:{}:{at}\n",
            address.host,
            address.port()
        );
        let extra = [settings
            .ca_bundle
            .as_deref()
            .map(std::fs::read_to_string)
            .transpose()
            .map_err(Error::Files)?];
        let secret = login
            .authority
            .as_ref()
            .map(|authority| authority.expose_secret().to_owned());
        let extra: Vec<_> = extra.into_iter().flatten().chain(secret).collect();
        if !extra.is_empty() {
            let system = AUTHORITIES
                .iter()
                .find_map(|file| std::fs::read_to_string(file).ok());
            let all: Vec<_> = system.into_iter().chain(extra).collect();
            let file = self.write("ca.crt", &all.join("\n"))?;
            writeln!(config, "\tsslCAInfo = {}", file.display()).map_err(|_error| Error::Text)?;
        }

        if let Some(authorization) = login.authorization() {
            // base64 needs no quoting, and only this server is shown it.
            let header = authorization.expose_secret();
            write!(
                config,
                "[http \"{}\"]\n\textraHeader = \"Authorization: {header}\"\n",
                address.origin()
            )
            .map_err(|_error| Error::Text)?;
        }

        Ok(config)
    }

    async fn ssh(
        &self,
        settings: &Settings,
        login: &Login,
        address: &Address,
        at: IpAddr,
    ) -> Result<String, Error> {
        let known_as = address.known_as();
        let known = self.known_hosts(settings, login, &known_as).await?;
        let identity = match &login.with {
            With::Key { key, passphrase } => {
                // ssh wants the line's end that was trimmed.
                let file = self.write("key", &format!("{}\n", key.expose_secret()))?;
                if let Some(passphrase) = passphrase {
                    self.unlock(&file, passphrase.expose_secret()).await?;
                }
                file.display().to_string()
            }
            With::Nothing | With::Password { .. } => "none".into(),
        };

        let config = format!(
            "Host *\n  HostName {at}\n  HostKeyAlias {known_as}\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  \
             StrictHostKeyChecking yes\n  UpdateHostKeys no\n  CheckHostIP no\n  BatchMode yes\n  IdentityFile {identity}\n  \
             IdentitiesOnly yes\n  IdentityAgent none\n  PasswordAuthentication no\n  KbdInteractiveAuthentication no\n  \
             ForwardAgent no\n  ClearAllForwardings yes\n  PermitLocalCommand no\n  ProxyCommand none\n  ConnectTimeout 10\n  \
             ServerAliveInterval 15\n  ServerAliveCountMax 4\n",
            known.display()
        );
        self.write("ssh_config", &config)?;
        Ok(String::new())
    }

    /// The host's keys: the Secret's own for a host that it names, else the operator's, else those
    /// that are shipped.
    async fn known_hosts(
        &self,
        settings: &Settings,
        login: &Login,
        host: &str,
    ) -> Result<PathBuf, Error> {
        let operator = settings
            .known_hosts
            .as_deref()
            .map(std::fs::read_to_string)
            .transpose()
            .map_err(Error::Files)?;
        let secret = login
            .known_hosts
            .as_ref()
            .map(|known| known.expose_secret().to_owned());
        for known in [secret, operator, Some(KNOWN_HOSTS.into())]
            .into_iter()
            .flatten()
        {
            let file = self.write("known_hosts", &format!("{known}\n"))?;
            // It understands hashed names and patterns.
            let found = self
                .keygen(&["-F", host, "-f"], &file)
                .status()
                .await
                .map_err(Error::Start)?;
            if found.success() {
                return Ok(file);
            }
        }

        self.write("known_hosts", "")
    }

    /// Takes the passphrase from a key. ssh-keygen asks a program for it, so that it stands in no
    /// argument.
    async fn unlock(&self, key: &Path, passphrase: &str) -> Result<(), Error> {
        let answer = self.write("passphrase", &format!("{passphrase}\n"))?;
        let ask = self.write(
            "ask",
            &format!("#!/bin/sh\nexec cat '{}'\n", answer.display()),
        )?;
        std::fs::set_permissions(&ask, Permissions::from_mode(0o700)).map_err(Error::Files)?;
        let mut keygen = self.keygen(&["-p", "-q", "-N", "", "-f"], key);
        keygen
            .env("SSH_ASKPASS", &ask)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", "none");

        let done = keygen.status().await.map_err(Error::Start)?;

        for file in [ask, answer] {
            std::fs::remove_file(file).map_err(Error::Files)?;
        }

        if done.success() {
            Ok(())
        } else {
            Err(Error::Passphrase)
        }
    }

    fn keygen(&self, args: &[&str], file: &Path) -> Command {
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(args)
            .arg(file)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.path());
        keygen
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        keygen
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);

        file.and_then(|mut file| file.write_all(content.as_bytes()))
            .map_err(Error::Files)?;
        Ok(path)
    }
}

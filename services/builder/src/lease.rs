//! A lease of the BuildKit beside this builder: as long as it lasts, its processes are those of one
//! namespace's build.
//!
//! It is a connection to the supervisor in the BuildKit container (`supervise.rs`), so that it ends
//! with whoever has it. The builder says `lease <namespace>`; the supervisor answers `fresh` or
//! `kept` once BuildKit may be used, or `unavailable`; and it says `lost` if BuildKit ends. Before
//! it hangs up the builder says how BuildKit answered: `built` or `failed`. Without a word the
//! build was given up in the middle, or the builder died.

use std::path::PathBuf;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use sequencer_api::code::Code;
use sequencer_runtime::error::chain;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::buildkit::Failure;

/// BuildKit was started for this build.
pub(crate) const FRESH: &str = "fresh";
/// BuildKit is that of the namespace's build before.
pub(crate) const KEPT: &str = "kept";
/// BuildKit cannot be used.
pub(crate) const UNAVAILABLE: &str = "unavailable";
pub(crate) const LOST: &str = "lost";
/// BuildKit is done with the build.
pub(crate) const BUILT: &str = "built";
/// BuildKit gave up on the build: steps beside the one that failed may still be under way.
pub(crate) const FAILED: &str = "failed";
/// The most bytes of a line.
pub(crate) const LONGEST: u64 = 128;

/// What a request begins with.
const LEASE: &str = "lease ";

/// How long it is asked for: the container may just be starting again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it is asked for again, for as long as there is patience.
const AGAIN: ConstantBuilder = ConstantBuilder::new()
    .with_delay(Duration::from_millis(500))
    .without_max_times();

/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The namespace that a line asks for.
pub(crate) fn namespace_of(line: &str) -> Option<&str> {
    let plain = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    line.strip_prefix(LEASE).filter(|name| plain(name))
}

/// The address is no supervisor's.
#[derive(Debug, thiserror::Error)]
#[error("the supervisor's address is unix:///path")]
pub struct WrongAddress;

/// The supervisor granted no lease.
#[derive(Debug, thiserror::Error)]
enum NoLease {
    #[error("the supervisor does not answer")]
    Silent(#[from] std::io::Error),
    #[error("the supervisor answers {0:?}")]
    Refused(String),
}

/// Where leases are asked for.
#[derive(Clone, Debug)]
pub struct Supervisor(PathBuf);

impl std::str::FromStr for Supervisor {
    type Err = WrongAddress;

    fn from_str(address: &str) -> Result<Self, WrongAddress> {
        let path = address
            .strip_prefix("unix://")
            .filter(|path| path.starts_with('/'));
        path.map(|path| Self(path.into())).ok_or(WrongAddress)
    }
}

impl Supervisor {
    /// Waits until BuildKit may be used for a build of this namespace, which is a word that tells
    /// namespaces apart.
    ///
    /// # Errors
    /// [`Code::BuildKitLost`]: there is no BuildKit.
    pub(crate) async fn lease(&self, namespace: &str) -> Result<Lease, Failure> {
        self.lease_within(PATIENCE, namespace).await
    }

    async fn lease_within(&self, patience: Duration, namespace: &str) -> Result<Lease, Failure> {
        // It ends by the time alone. Whoever stops waiting drops it, and what was asked for with it.
        let asking = (|| self.ask(namespace))
            .retry(AGAIN)
            .notify(|error: &NoLease, _wait| {
                debug!(error = chain(error), "BuildKit cannot be leased yet")
            });

        match timeout(patience, asking).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_)) | Err(_) => {
                warn!("BuildKit's supervisor granted no lease");
                let message = "BuildKit cannot be used at the moment";
                Err(Failure::plain(Code::BuildKitLost, message))
            }
        }
    }

    async fn ask(&self, namespace: &str) -> Result<Lease, NoLease> {
        let mut lease = Lease(BufReader::new(UnixStream::connect(&self.0).await?));
        lease
            .0
            .write_all(format!("{LEASE}{namespace}\n").as_bytes())
            .await?;
        let answer = lease.line().await?;

        if [FRESH, KEPT].contains(&answer.as_str()) {
            Ok(lease)
        } else {
            Err(NoLease::Refused(answer))
        }
    }
}

/// The right to use BuildKit. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease(BufReader<UnixStream>);

impl Lease {
    /// Returns once BuildKit ended, or its supervisor.
    pub(crate) async fn lost(&mut self) {
        let answer = self.line().await;
        warn!(?answer, "BuildKit was lost");
    }

    /// Gives it back once BuildKit answered, and says how.
    pub(crate) async fn end(mut self, built: bool) {
        let word = if built { BUILT } else { FAILED };
        // What does not arrive costs a start of BuildKit that was not needed.
        drop(timeout(LAST_WORD, self.0.write_all(format!("{word}\n").as_bytes())).await);
    }

    /// The next line, empty at the end.
    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        (&mut self.0).take(LONGEST).read_line(&mut line).await?;
        Ok(line.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::net::UnixListener;

    use super::*;

    fn supervisor() -> (TempDir, UnixListener, Supervisor) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("supervisor.sock");
        let address = format!("unix://{}", path.display());

        (
            folder,
            UnixListener::bind(path).unwrap(),
            address.parse().unwrap(),
        )
    }

    /// Takes a connection, reads its line and gives this answer.
    async fn answer(listener: &UnixListener, answer: &str) -> (String, BufReader<UnixStream>) {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        (line, stream)
    }

    async fn rest(mut stream: BufReader<UnixStream>) -> String {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn a_lease_is_asked_for_and_given_back_or_dropped() {
        let (_folder, listener, supervisor) = supervisor();
        for (word, built, wanted) in [
            ("fresh\n", Some(true), "built\n"),
            ("kept\n", Some(false), "failed\n"),
            ("kept\n", None, ""),
        ] {
            let (lease, (line, stream)) =
                tokio::join!(supervisor.lease("a1b2"), answer(&listener, word));
            assert_eq!(namespace_of(line.trim_end()), Some("a1b2"));
            let lease = lease.unwrap();
            match built {
                Some(built) => lease.end(built).await,
                None => drop(lease),
            }
            assert_eq!(rest(stream).await, wanted);
        }
    }

    #[tokio::test]
    async fn a_builder_asks_again_until_buildkit_may_be_used() {
        let (_folder, listener, supervisor) = supervisor();
        let answers = async {
            drop(answer(&listener, "unavailable\n").await);
            drop(answer(&listener, "").await);
            answer(&listener, "kept\n").await
        };

        let (lease, _stream) = tokio::join!(supervisor.lease("a"), answers);
        assert!(lease.is_ok());
    }

    #[tokio::test]
    async fn without_a_supervisor_buildkit_is_lost() {
        let supervisor: Supervisor = "unix:///nonexistent/socket".parse().unwrap();
        assert_eq!(
            supervisor
                .lease_within(Duration::from_millis(1), "a")
                .await
                .unwrap_err()
                .code,
            Code::BuildKitLost
        );
    }

    #[tokio::test]
    async fn a_loss_is_heard_of_whether_it_is_said_or_the_supervisor_ends() {
        let (_folder, listener, supervisor) = supervisor();
        for word in ["lost\n", ""] {
            let (lease, (_line, mut stream)) =
                tokio::join!(supervisor.lease("a"), answer(&listener, "fresh\n"));
            let mut lease = lease.unwrap();
            assert!(
                timeout(Duration::from_millis(50), lease.lost())
                    .await
                    .is_err()
            );
            stream.write_all(word.as_bytes()).await.unwrap();
            if word.is_empty() {
                drop(stream);
            }

            lease.lost().await;
        }
    }

    #[test]
    fn only_a_word_is_a_namespace() {
        for wrong in [
            "",
            "lease",
            "lease ",
            "lease a b",
            "lease a\u{1b}",
            "built",
            "LEASE a",
        ] {
            assert_eq!(namespace_of(wrong), None, "{wrong:?}");
        }
        assert!(
            "tcp://x".parse::<Supervisor>().is_err() && "unix://x".parse::<Supervisor>().is_err()
        );
    }
}

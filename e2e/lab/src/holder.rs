//! Who holds the machine: its addresses and cgroup folders serve one cluster at a time.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::control::Supervisor;
use crate::layout::Layout;

const FILE: &str = "/run/sequencer-e2e.json";

/// The cluster that has the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Whose `e2e/up` started it.
    pub checkout: PathBuf,
    pub state: PathBuf,
    pub socket: PathBuf,
}

/// The right to change the machine's cluster, for as long as this value lives.
#[derive(Debug)]
pub struct Machine {
    file: Flock<File>,
}

impl Machine {
    /// Takes the machine for one command.
    ///
    /// # Errors
    /// Another command is at work, or the cluster of another checkout or state folder is up.
    pub fn take(layout: &Layout) -> Result<Self> {
        let mut file = Self::lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if let Ok(holder) = serde_json::from_str::<Holder>(&text) {
            let ours = holder.state == layout.state && holder.checkout == layout.repository;
            if !ours && Supervisor::at(&holder.socket).pid().is_some() {
                bail!(
                    "the machine is held by the cluster of the checkout {0}; end it with: SEQUENCER_E2E_STATE={1} {0}/e2e/down",
                    holder.checkout.display(),
                    holder.state.display()
                );
            }
        }

        Ok(Self { file })
    }

    /// The locked file. One that was removed between opening and locking is nobody's any more.
    fn lock() -> Result<Flock<File>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(FILE);
            let file = file.with_context(|| format!("cannot open {FILE}"))?;
            let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                bail!(
                    "another e2e command is at work on this machine's cluster; wait for it to end (it holds {FILE})"
                );
            };

            if std::fs::metadata(FILE)
                .is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()))
            {
                return Ok(file);
            }
        }
    }

    /// Writes down who has it from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn hold(&mut self, layout: &Layout, socket: &Path) -> Result<()> {
        let holder = Holder {
            checkout: layout.repository.clone(),
            state: layout.state.clone(),
            socket: socket.to_path_buf(),
        };
        self.write(&serde_json::to_vec(&holder)?)
    }

    /// Nobody has it from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn release(mut self) -> Result<()> {
        self.write(b"")?;
        std::fs::remove_file(FILE)?;
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(content)?;
        Ok(())
    }
}

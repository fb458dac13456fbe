//! Parts without a cluster, for a test that needs no kubelet: children of the test, on a loopback
//! address of their own, with their data in a folder that goes with them.

mod kinds;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::audit;
use crate::layout::{Layout, text};
use crate::part::Part;
use crate::parts::{control_plane, nats};
use crate::pki;
use crate::process::{silent, tail};
use crate::until::until;

/// Parts that end when this value is dropped.
#[derive(Debug)]
pub struct Alone {
    /// The address of all parts; no other test has it.
    pub address: IpAddr,
    layout: Layout,
    programs: Layout,
    children: Vec<(String, Child)>,
    _folder: TempDir,
}

impl Alone {
    /// No parts yet. `programs` is the layout of the cluster whose programs are used.
    ///
    /// # Errors
    /// The folder or the certificates cannot be made.
    pub fn new(programs: &Layout) -> Result<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        // A loopback address for each process and use: the ports can be the usual ones and never
        // collide.
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(
            127,
            high,
            low,
            COUNT.fetch_add(1, Ordering::Relaxed),
        ));
        let folder = TempDir::with_prefix("sequencer-alone-")?;
        let layout = Layout {
            state: folder.path().to_path_buf(),
            ..programs.clone()
        };

        layout.create()?;
        std::fs::remove_dir(layout.bin(""))?;
        std::os::unix::fs::symlink(programs.bin(""), layout.state.join("bin"))?;
        pki::ensure(&layout, &[address])?;
        Ok(Self {
            address,
            layout,
            programs: programs.clone(),
            children: Vec::new(),
            _folder: folder,
        })
    }

    /// Starts etcd and an API server and returns the administrator's kubeconfig.
    ///
    /// # Errors
    /// One of them does not become ready.
    pub fn control_plane(&mut self) -> Result<PathBuf> {
        let (etcd, server) = ((self.address, 2379).into(), (self.address, 6443).into());
        self.start(&control_plane::etcd(&self.layout, etcd))?;
        self.start(&control_plane::apiserver(&self.layout, server, etcd)?)?;
        control_plane::kubeconfig(&self.layout, "admin", server)
    }

    /// As [`Alone::control_plane`], with the definitions of Sequencer's kinds, which are served.
    ///
    /// # Errors
    /// As [`Alone::control_plane`].
    pub fn control_plane_with_kinds(&mut self) -> Result<PathBuf> {
        kinds::copy(&kinds::data(&self.programs)?, &self.layout.data("etcd"))?;
        self.control_plane()
    }

    /// Starts the controllers: of Deployments and Jobs, and the garbage collector.
    ///
    /// # Errors
    /// They do not become ready.
    pub fn controllers(&mut self) -> Result<()> {
        let server = (self.address, 6443).into();
        self.start(&control_plane::controllers(&self.layout, server)?)
    }

    /// Starts NATS with JetStream and returns its URL.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn nats(&mut self) -> Result<String> {
        let program = self.layout.bin("nats-server");
        let part = nats::part(&program, self.folder(), self.address, "")?;
        self.start(&part)?;
        Ok(format!("nats://{}:4222", self.address))
    }

    /// Starts a part and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in its time; the text has the end of its log.
    pub fn start(&mut self, part: &Part) -> Result<()> {
        let log = self.layout.logs().join(format!("{}.log", part.name));
        // A test that is killed takes its parts with it.
        let dying = ["setpriv", "--pdeathsig=KILL", "--"]
            .into_iter()
            .map(Into::into);
        let part = Part {
            argv: dying.chain(part.argv.iter().cloned()).collect(),
            env: [part.env.clone(), vec![garbage()]].concat(),
            ..part.clone()
        };

        let mut child = part.spawn(&log)?;
        let succeeds = |argv: &[String]| {
            silent(argv)
                .is_some_and(|mut command| command.status().is_ok_and(|status| status.success()))
        };

        let mut ended = None;
        let ready = until(&part.name, Duration::from_secs(part.patience), || {
            ended = child.try_wait()?;
            ensure!(
                ended.is_some() || part.ready.holds(succeeds),
                "it is not ready"
            );
            Ok(())
        });

        self.children.push((part.name.clone(), child));
        ready?;
        ensure!(ended.is_none(), "{} ended\n{}", part.name, tail(&log));
        Ok(())
    }

    /// The process of a part that was started.
    #[must_use]
    pub fn pid(&self, part: &str) -> Option<u32> {
        let started = self.children.iter().find(|(name, _)| name == part);
        started.map(|(_, child)| child.id())
    }

    /// What the client that calls itself so wrote, and how often: see [`audit::count`].
    ///
    /// # Errors
    /// The API server was never started.
    pub fn writes(&self, agent: &str) -> Result<BTreeMap<String, usize>> {
        let writes = audit::writes(&self.layout)?;
        Ok(audit::count(
            writes.iter().filter(|write| write.user_agent == agent),
        ))
    }

    /// The folder of all parts' data, logs and certificates.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.layout.state
    }

    /// The CA that signed every certificate.
    #[must_use]
    pub fn ca(&self) -> String {
        text(self.layout.pki("ca.crt"))
    }
}

/// Go's setting of how much garbage there may be: a test has memory to spare, and no time.
fn garbage() -> (String, String) {
    ("GOGC".into(), "400".into())
}

impl Drop for Alone {
    fn drop(&mut self) {
        for (_, child) in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

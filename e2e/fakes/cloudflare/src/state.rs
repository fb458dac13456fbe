//! Tunnels and records, in memory and in a file, so that a restart keeps them.
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{record::Record, tunnel::Tunnel};

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Data {
    /// Grows with every write; the serial of the zone.
    pub(crate) revision: u32,
    /// In the order they were created, the deleted ones too.
    pub(crate) tunnels: Vec<Tunnel>,
    pub(crate) records: Vec<Record>,
}

impl Data {
    pub(crate) fn tunnel(&self, id: Uuid) -> Option<&Tunnel> {
        self.tunnels.iter().find(|tunnel| tunnel.id == id)
    }

    pub(crate) fn tunnel_mut(&mut self, id: Uuid) -> Option<&mut Tunnel> {
        self.tunnels.iter_mut().find(|tunnel| tunnel.id == id)
    }

    pub(crate) fn live(&self, id: Uuid) -> Option<&Tunnel> {
        self.tunnel(id).filter(|tunnel| tunnel.live())
    }
}

pub(crate) struct Store {
    data: Mutex<Data>,
    path: Option<PathBuf>,
    changed: watch::Sender<u32>,
}

impl Store {
    /// Reads the file if there is one.
    pub(crate) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let data = match path.as_deref().map(std::fs::read) {
            Some(Ok(bytes)) => serde_json::from_slice(&bytes)?,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => Data::default(),
        };
        Ok(Self {
            data: Mutex::new(data),
            path,
            changed: watch::Sender::new(0),
        })
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&Data) -> R) -> R {
        read(&self.data.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the data and the file, or neither.
    pub(crate) fn write<R, E: From<io::Error>>(
        &self,
        write: impl FnOnce(&mut Data) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = data.clone();
        let result = write(&mut next)?;

        next.revision = next.revision.wrapping_add(1);
        if let Some(path) = &self.path {
            save(path, &next)?;
        }

        self.changed.send_replace(next.revision);
        *data = next;
        Ok(result)
    }

    /// Wakes after every write.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u32> {
        self.changed.subscribe()
    }
}

fn save(path: &Path, data: &Data) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec_pretty(data)?)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}

//! Copying an image from one repository to another: what is there already is not sent, what is
//! missing is streamed, and tags are pointed last, so that a reader never finds half an image.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::future::try_join_all;
use sequencer_runtime::registry::{Digest, Fault, Manifest, Registry};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::error::Error;
use crate::parts::{Blob, Parts, Unfit};
use crate::verified::{Broken, verified};

/// The most manifests of an index: platforms, and attestations of each.
const MANIFESTS: usize = 64;

/// How something is tried again that fails in passing, each time after twice the wait. What fails
/// longer is tried again when the Build is handled again.
const AGAIN: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(250))
    .with_max_times(2);

/// An image as it is staged. What it consists of is read where it has to be sent.
#[derive(Debug)]
pub struct Image {
    staging: Registry,
    root: Manifest,
    contents: OnceCell<Contents>,
}

/// What an image consists of besides its root.
#[derive(Debug)]
struct Contents {
    /// The manifests of an index.
    children: Vec<Manifest>,
    /// Every blob, once.
    blobs: BTreeSet<Blob>,
}

/// A place that an image is copied to.
#[derive(Clone, Debug)]
pub struct Target {
    /// How people call it.
    pub host: String,
    /// The Secret of the login, `namespace/name`.
    pub login: Option<String>,
    pub registry: Arc<Registry>,
    pub tags: Vec<String>,
    /// How many layers are sent at once.
    pub layers: usize,
}

/// What a copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Every tag points to it; so many bytes of blobs were sent.
    Tagged(u64),
    /// It may not move the tags any more: it is there by its digest alone.
    Overtaken,
}

impl Image {
    /// The image of this digest.
    ///
    /// # Errors
    /// It is not there, or cannot be copied.
    pub async fn read(staging: Registry, digest: &Digest) -> Result<Self, Error> {
        let root = passing(|| staging.manifest(digest)).await;
        let root = root.map_err(Error::Staging)?;
        Parts::of(&root)?;

        Ok(Self {
            staging,
            root,
            contents: OnceCell::new(),
        })
    }

    /// Reads what it consists of, once for all registries that lack it.
    async fn contents(&self) -> Result<&Contents, Error> {
        let read = async || {
            let parts = Parts::of(&self.root)?;
            if parts.manifests.len() > MANIFESTS {
                return Err(Unfit::Malformed.into());
            }

            let distinct: BTreeSet<_> = parts.manifests.iter().collect();
            let children = distinct
                .into_iter()
                .map(|digest| passing(move || self.staging.manifest(digest)));
            let children = try_join_all(children).await.map_err(Error::Staging)?;

            let mut blobs: BTreeSet<_> = parts.blobs.into_iter().collect();

            for child in &children {
                let parts = Parts::of(child)?;
                if !parts.manifests.is_empty() {
                    return Err(Unfit::Type.into());
                }
                blobs.extend(parts.blobs);
            }

            Ok(Contents { children, blobs })
        };
        self.contents.get_or_try_init(read).await
    }
}

impl Target {
    /// Copies the image, and points the tags to it. `turn` is asked last, when nothing but tags is
    /// missing: what it gives is held while they are pointed, and without it they stay where they
    /// are.
    ///
    /// # Errors
    /// It is not there whole, or a tag does not point to it.
    pub async fn publish<T>(
        &self,
        image: &Arc<Image>,
        turn: impl AsyncFnOnce() -> Result<Option<T>, Error>,
    ) -> Result<Copied, Error> {
        let mut sent = 0;

        // A registry that has a manifest has all that it refers to.
        if !self.has(&image.root).await? {
            let contents = image.contents().await?;
            sent = self.blobs(image, contents).await?;
            try_join_all(contents.children.iter().map(|child| self.store(child))).await?;
        }

        let Some(_turn) = turn().await? else {
            return Ok(Copied::Overtaken);
        };

        let left = self.elsewhere(image).await?;
        let pointed = try_join_all(left.into_iter().map(|tag| self.point(tag, &image.root)));
        pointed.await.map_err(|fault| self.fault(fault))?;
        Ok(Copied::Tagged(sent))
    }

    /// The tags that do not point to the image.
    async fn elsewhere(&self, image: &Image) -> Result<Vec<&str>, Error> {
        let to = &self.registry;
        let looks = self
            .tags
            .iter()
            .map(|tag| passing(move || to.digest_of(tag)));
        let tags = try_join_all(looks)
            .await
            .map_err(|fault| self.fault(fault))?;
        let left = self
            .tags
            .iter()
            .zip(tags)
            .filter(|(_, found)| found.as_ref() != Some(&image.root.digest));
        Ok(left.map(|(tag, _)| tag.as_str()).collect())
    }

    fn fault(&self, fault: Fault) -> Error {
        Error::Registry {
            host: self.host.clone(),
            login: self.login.clone(),
            fault,
        }
    }

    async fn has(&self, manifest: &Manifest) -> Result<bool, Error> {
        let found = passing(|| self.registry.digest_of(manifest.digest.as_str())).await;
        Ok(found.map_err(|fault| self.fault(fault))?.is_some())
    }

    async fn store(&self, manifest: &Manifest) -> Result<(), Error> {
        if self.has(manifest).await? {
            return Ok(());
        }

        let stored = passing(|| {
            self.registry
                .put_manifest(manifest.digest.as_str(), manifest)
        })
        .await;
        stored.map_err(|fault| self.fault(fault))
    }

    /// Points a tag, and looks where it points then.
    async fn point(&self, tag: &str, manifest: &Manifest) -> Result<(), Fault> {
        passing(|| self.registry.put_manifest(tag, manifest)).await?;
        let found = passing(|| self.registry.digest_of(tag)).await?;
        if found.as_ref() == Some(&manifest.digest) {
            Ok(())
        } else {
            Err(Fault::Digest)
        }
    }

    /// Sends the blobs that are missing, some at once, each in a task of its own: there may be two
    /// processors.
    async fn blobs(&self, image: &Arc<Image>, contents: &Contents) -> Result<u64, Error> {
        let slots = Arc::new(Semaphore::new(self.layers.max(1)));
        let mut tasks = JoinSet::new();

        for blob in contents.blobs.iter().rev() {
            let (target, image, slots, blob) = (
                self.clone(),
                Arc::clone(image),
                Arc::clone(&slots),
                blob.clone(),
            );
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                target.blob(&image.staging, &blob).await
            });
        }

        let mut sent = 0;

        while let Some(done) = tasks.join_next().await {
            sent += done.map_err(resumed)??;
        }

        Ok(sent)
    }

    /// Sends a blob if it is missing.
    async fn blob(&self, staging: &Registry, blob: &Blob) -> Result<u64, Error> {
        let there = passing(|| self.registry.has_blob(&blob.digest)).await;
        if there.map_err(|fault| self.fault(fault))? {
            return Ok(0);
        }

        let sent = (|| self.stream(staging, blob))
            .retry(AGAIN)
            .when(Error::is_passing);
        sent.await.map(|()| blob.size)
    }

    async fn stream(&self, staging: &Registry, blob: &Blob) -> Result<(), Error> {
        let source = staging.blob(&blob.digest).await.map_err(Error::Staging)?;
        let broken = Broken::default();
        let content = verified(source.bytes_stream(), blob.clone(), broken.clone());
        let sent = self
            .registry
            .put_blob(&blob.digest, blob.size, content)
            .await;

        sent.map_err(|fault| {
            broken
                .take()
                .map_or_else(|| self.fault(fault), Error::Staging)
        })
    }
}

/// A task that panicked is a panic here.
fn resumed(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_cancelled) => Error::Staging(Fault::Silent),
    }
}

/// Does something, and again if it fails in passing.
async fn passing<T, F: Future<Output = Result<T, Fault>>>(act: impl Fn() -> F) -> Result<T, Fault> {
    act.retry(AGAIN).when(Fault::is_passing).await
}

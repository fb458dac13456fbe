//! Content on its way from one registry to the other, checked against its digest before its last
//! part is passed on.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use sequencer_runtime::registry::{Fault, Hasher};

use crate::parts::Blob;

/// Where the reader of a [`verified`] stream learns why it broke: the client that sends it says
/// only that it did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(Arc<Mutex<Option<Fault>>>);

impl Broken {
    /// Why it broke, if it did.
    pub(crate) fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn by(&self, fault: Fault) -> io::Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        io::Error::other("the content broke off")
    }
}

struct State<S> {
    content: S,
    hasher: Hasher,
    left: u64,
    blob: Blob,
    broken: Broken,
}

/// The same content, which ends in an error unless it is exactly the blob.
pub(crate) fn verified<S, E>(
    content: S,
    blob: Blob,
    broken: Broken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Fault> + Send + 'static,
{
    let state = State {
        content: Box::pin(content),
        hasher: Hasher::default(),
        left: blob.size,
        blob,
        broken,
    };
    unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(part)) => Some((Ok(part), (state.left > 0).then_some(state))),
            Ok(None) => None,
            Err(fault) => Some((Err(state.broken.by(fault)), None)),
        }
    })
}

impl<S, E> State<Pin<Box<S>>>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<Fault>,
{
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(part) = self.content.next().await.transpose().map_err(Into::into)? else {
            // It ended too early, or it is the empty blob.
            return if self.left == 0 && self.hasher.digest() == self.blob.digest {
                Ok(None)
            } else {
                Err(Fault::Digest)
            };
        };

        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or(Fault::Digest)?;
        self.hasher.add(&part);
        if self.left == 0 && self.hasher.digest() != self.blob.digest {
            return Err(Fault::Digest);
        }

        Ok(Some(part))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;
    use sequencer_runtime::registry::Digest;

    use super::*;

    /// What passes, and why the rest does not.
    fn pass(parts: &[Vec<u8>], blob: Blob) -> (Vec<u8>, Option<Fault>) {
        let broken = Broken::default();
        let content = stream::iter(parts.to_vec()).map(|part| Ok::<_, Fault>(Bytes::from(part)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let passed: Vec<_> = runtime.block_on(verified(content, blob, broken.clone()).collect());

        (
            passed
                .into_iter()
                .filter_map(Result::ok)
                .flatten()
                .collect(),
            broken.take(),
        )
    }

    proptest! {
        #[test]
        fn exactly_the_blob_passes_whole_and_nothing_else_does(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 0..6), change in 0..4_u8,
        ) {
            let whole = parts.concat();
            let blob = Blob { digest: Digest::of(&whole), size: whole.len() as u64 };
            let (passed, fault) = pass(&parts, blob.clone());
            prop_assert!(fault.is_none(), "{:?}", fault);
            prop_assert_eq!(&passed, &whole);

            let mut other = parts.clone();

            match change {
                0 => other.push(vec![0]),
                1 => drop(other.iter_mut().find(|part| !part.is_empty()).map(|part| part[0] ^= 1)),
                2 => drop(other.iter_mut().find(|part| !part.is_empty()).map(|part| part.remove(0))),
                _ => other.insert(0, vec![0]),
            }

            let (passed, fault) = pass(&other, blob);

            // What follows the whole blob is not looked at, and never passed on.
            if other.concat().starts_with(&whole) {
                prop_assert!(whole.starts_with(&passed));
            } else {
                prop_assert!(matches!(fault, Some(Fault::Digest)), "{:?}", fault);
                prop_assert!(passed.len() < whole.len());
            }
        }
    }
}

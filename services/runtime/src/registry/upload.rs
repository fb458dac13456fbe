//! Sending a blob, and noticing when it does not move any more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, StatusCode};
use tokio::time::sleep;

use super::{Digest, Fault, Registry, TIMEOUT, judged, taken, with};

/// So long without a byte, and an upload is given up. Longer than staging's own silence, so that
/// its is seen first.
const SILENCE: Duration = Duration::from_secs(90);

impl Registry {
    /// Sends a blob of `size` bytes in one request.
    ///
    /// # Errors
    /// See [`Fault`]. An error of `content` is one of [`Fault::Unreachable`]: its cause is known
    /// where it was made.
    pub async fn put_blob<S>(&self, digest: &Digest, size: u64, content: S) -> Result<(), Fault>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let uploads = self.url("blobs/uploads/")?;
        let begun = self
            .send(|| {
                self.http
                    .post(uploads.clone())
                    .header(CONTENT_LENGTH, 0)
                    .timeout(TIMEOUT)
            })
            .await?;
        let mut place = self.location(&uploads, &taken(begun)?)?;
        place
            .query_pairs_mut()
            .append_pair("digest", digest.as_str());

        let moved = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&moved);
        let content = content.inspect_ok(move |part| {
            counter.fetch_add(
                u64::try_from(part.len()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
        });

        let header = if self.is_own(&place) {
            self.access.header().await
        } else {
            None
        };

        let request = self
            .http
            .put(place)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, size)
            .body(Body::wrap_stream(content));
        let answer = tokio::select! {
            answer = with(request, header.as_ref()).send() => answer?,
            () = silent(&moved) => return Err(Fault::Silent),
        };

        if answer.status() == StatusCode::UNAUTHORIZED {
            self.access.forget().await;
            return Err(Fault::Expired);
        }

        taken(judged(answer)?).map(drop)
    }
}

/// Returns when nothing more moves.
async fn silent(moved: &AtomicU64) {
    let mut before = None;
    loop {
        let now = Some(moved.load(Ordering::Relaxed));
        if before == now {
            return;
        }
        before = now;
        sleep(SILENCE).await;
    }
}

//! One object reconciled: observed afresh, planned, applied, recorded. The steps are each kind's
//! own; this is the same for both.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use kube::Resource;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use sequencer_runtime::error::{catch_panic, chain};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::error::Error;
use crate::service::Service;

/// The wait after what was read proved old.
const STALE: Duration = Duration::from_millis(100);

/// The wait after something failed that the object cannot help.
const AGAIN: Duration = Duration::from_secs(5);

/// A kind that is reconciled.
pub trait Reconciled:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Reads the object afresh, makes the cluster so, and records how it is.
    fn reconcile(
        service: &Service,
        namespace: &str,
        name: &str,
    ) -> impl Future<Output = Result<Action, Error>> + Send;
}

/// Reconciles an object of which the metadata is known.
///
/// # Errors
/// See [`Error`].
pub(crate) async fn reconcile<K: Reconciled>(
    object: Arc<PartialObjectMeta<K>>,
    service: Arc<Service>,
) -> Result<Action, Error> {
    let reference = ObjectRef::from_obj(object.as_ref());
    let namespace = reference.namespace.ok_or(Error::Unstored)?;
    // A panic is this object's trouble, and no other's.
    let reconciled = catch_panic(K::reconcile(&service, &namespace, &reference.name));
    Box::pin(reconciled).await?
}

/// When to reconcile again after an error.
#[expect(clippy::needless_pass_by_value, reason = "it is called so")]
pub(crate) fn after_error<K: Reconciled>(
    object: Arc<PartialObjectMeta<K>>,
    error: &Error,
    _service: Arc<Service>,
) -> Action {
    if error.is_gone() {
        return Action::await_change();
    }

    if error.is_stale() {
        return Action::requeue(STALE);
    }

    let object = ObjectRef::from_obj(object.as_ref());
    warn!(kind = %K::kind(&()), %object, error = chain(error), "Failed to reconcile");
    Action::requeue(AGAIN)
}

/// When to reconcile again although nothing changes: after the shortest of these waits.
pub(crate) fn next(waits: impl IntoIterator<Item = Option<Duration>>) -> Action {
    let shortest = waits.into_iter().flatten().min();
    shortest.map_or_else(Action::await_change, Action::requeue)
}

impl Service {
    /// An object is gone.
    pub(crate) fn forget(&self, object: &impl Resource) {
        if let Some(uid) = &object.meta().uid {
            self.statuses().forget(uid);
            self.throttle().end(uid);
            self.settled().forget(uid);
        }
    }
}

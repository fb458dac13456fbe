//! Writes that the API server does not take (Kubernetes API conventions, "Response Status Kind").

use kube::core::Status;
use kube::core::response::StatusCause;
use sequencer_api::code::Code;
use thiserror::Error;

/// An object that the API server did not take as it was written. The same will not be taken the
/// next moment either.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} {name} was refused: {words}")]
pub struct Denial {
    /// The object's kind.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// What is wrong.
    pub code: Code,
    /// The API server's words.
    pub words: String,
}

impl Denial {
    /// What the API server answered to a write of this object. None: it did not answer, what was
    /// read is old, or the namespace is being deleted.
    #[must_use]
    pub fn of(error: &kube::Error, kind: &str, name: &str) -> Option<Self> {
        let kube::Error::Api(status) = error else {
            return None;
        };

        if !is_denied(status) {
            return None;
        }

        let words = &status.message;
        let quota = words.contains("exceeded quota");
        Some(Self {
            kind: kind.into(),
            name: name.into(),
            code: if quota {
                Code::QuotaExceeded
            } else {
                Code::AdmissionDenied
            },
            words: words.clone(),
        })
    }
}

/// Whether a write was not taken for what it says.
#[must_use]
pub fn is_denied(status: &Status) -> bool {
    let words = &status.message;
    // What is larger than etcd or gRPC takes has no code of its own.
    let large = words.contains("request is too large") || words.contains("message larger than max");
    let refused = matches!(status.code, 400 | 403 | 413 | 422) || large;
    refused && !is_stale(status) && !is_of_a_namespace_that_goes(status)
}

/// Whether what was read is older than what is there: it is gone, it changed, or a test of a JSON
/// Patch (RFC 6902, 4.6) failed.
#[must_use]
pub fn is_stale(status: &Status) -> bool {
    // A failed test is 422, and so is whatever the schema, a policy or a webhook refuses: those say
    // what they object to.
    let told = causes(status).next().is_some() || status.message.starts_with("admission webhook");
    matches!(status.code, 404 | 409) || (status.code == 422 && !told)
}

/// Whether an object cannot be made because its namespace is being deleted.
#[must_use]
pub fn is_of_a_namespace_that_goes(status: &Status) -> bool {
    status.code == 403 && causes(status).any(|cause| cause.reason == "NamespaceTerminating")
}

/// What the API server objects to.
pub(crate) fn causes(status: &Status) -> impl Iterator<Item = &StatusCause> {
    status.details.iter().flat_map(|details| &details.causes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(code: u16, message: &str) -> Status {
        Status {
            code,
            message: message.into(),
            ..Status::default()
        }
    }

    fn because(status: Status, reason: &str) -> Status {
        let details = json!({"causes": [{"reason": reason, "message": "no"}]});
        Status {
            details: serde_json::from_value(details).unwrap(),
            ..status
        }
    }

    fn code(status: Status) -> Option<Code> {
        Denial::of(&kube::Error::Api(status.boxed()), "Deployment", "a").map(|denial| denial.code)
    }

    #[test]
    fn what_is_refused_is_told_with_its_code() {
        for (status, wanted) in [
            (status(403, "exceeded quota: none"), Code::QuotaExceeded),
            (
                status(403, "User \"x\" cannot create"),
                Code::AdmissionDenied,
            ),
            (
                status(400, "quantities must match the regular expression"),
                Code::AdmissionDenied,
            ),
            (
                status(413, "Request entity too large: limit is 3145728"),
                Code::AdmissionDenied,
            ),
            (
                status(500, "etcdserver: request is too large"),
                Code::AdmissionDenied,
            ),
            (
                status(
                    500,
                    "rpc error: code = ResourceExhausted desc = trying to send message larger than max (3 vs. 2)",
                ),
                Code::AdmissionDenied,
            ),
            (
                because(status(422, "denied request"), ""),
                Code::AdmissionDenied,
            ),
            (
                status(422, "admission webhook \"x\" denied the request: no"),
                Code::AdmissionDenied,
            ),
        ] {
            assert_eq!(code(status.clone()), Some(wanted), "{}", status.message);
        }
    }

    #[test]
    fn what_heals_by_itself_or_goes_anyway_is_not_refused() {
        let failed_test = "the server rejected our request due to an error in our request";

        for (status, stale) in [
            (status(422, failed_test), true),
            (status(409, "the object has been modified"), true),
            (status(404, "not found"), true),
            (status(500, "etcdserver: leader changed"), false),
            (status(429, "too many requests"), false),
            (
                because(status(403, "forbidden"), "NamespaceTerminating"),
                false,
            ),
        ] {
            assert_eq!(code(status.clone()), None, "{}", status.message);
            assert_eq!(is_stale(&status), stale, "{}", status.message);
        }
    }
}

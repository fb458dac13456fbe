//! Faults a test asks of the API: which calls they strike, and what happens to those.
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One fault. All effects that are set happen: the delay first, then the status or the lost
/// response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fault {
    /// Any method if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// A path below `/client/v4`; `*` stands for one segment, a last `**` for any rest.
    path: String,
    /// How many calls it strikes, without end if empty. `GET /faults` shows how many are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    /// Answers with this status and performs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// The whole body of that answer, in place of the envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<u64>,
    /// Performs the call, then closes the connection without an answer.
    pub(crate) lost_response: bool,
    /// Lists do not show what was created within this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) list_lag_ms: Option<u64>,
    /// How many calls it has struck.
    struck: u32,
}

impl Fault {
    fn strikes(&self, method: &str, path: &str) -> bool {
        self.times != Some(0)
            && self
                .method
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && matches(&self.path, path)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.trim_matches('/').split('/');

    for wanted in pattern.trim_matches('/').split('/') {
        match (wanted, segments.next()) {
            ("**", _) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }

    segments.next().is_none()
}

#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn set(&self, faults: Vec<Fault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    pub(crate) fn all(&self) -> Vec<Fault> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first fault that strikes this call, with one of its times used up.
    pub(crate) fn strike(&self, method: &str, path: &str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults
            .iter_mut()
            .find(|fault| fault.strikes(method, path))?;
        fault.times = fault.times.map(|times| times.saturating_sub(1));
        fault.struck += 1;
        Some(fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_segments() {
        assert!(matches("/zones/*/dns_records", "/zones/abc/dns_records"));
        assert!(!matches("/zones/*/dns_records", "/zones/abc/dns_records/1"));
        assert!(!matches("/zones/*/dns_records", "/zones/abc"));
        assert!(matches("/zones/**", "/zones/abc/dns_records/1"));
        assert!(matches("/**", "/user/tokens/verify"));
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says() {
        let faults = Faults::default();
        let twice = Fault {
            method: Some("post".into()),
            path: "/a".into(),
            times: Some(2),
            ..Fault::default()
        };

        faults.set(vec![twice]);
        assert!(faults.strike("GET", "/a").is_none());
        assert!(faults.strike("POST", "/a").is_some());
        assert!(faults.strike("POST", "/a").is_some());
        assert!(faults.strike("POST", "/a").is_none());
        assert_eq!(
            faults
                .all()
                .first()
                .map(|fault| (fault.times, fault.struck)),
            Some((Some(0), 2))
        );
    }
}

//! The ingress rules of a tunnel: what a configuration may hold, and which rule takes a request.
use std::time::Duration;

use hyper::{StatusCode, Uri};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)"
    )]
    LastRuleFilters,
    #[error(
        "Rule #{0} is matching every hostname, so the rules which follow it will never be triggered"
    )]
    EarlyCatchAll(usize),
    #[error(
        "Hostname patterns can have at most one wildcard character (\"*\") and it must be at the beginning"
    )]
    Wildcard,
    #[error("Rule #{0} has an invalid path")]
    Path(usize),
    #[error("Rule #{0} has an invalid service: {1:?}")]
    Service(usize, String),
    #[error("the configuration does not decode: {0}")]
    Shape(String),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    ingress: Vec<WrittenRule>,
    #[serde(default)]
    origin_request: OriginRequest,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRule {
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    path: String,
    service: String,
    #[serde(default)]
    origin_request: OriginRequest,
}

/// How to speak to a service; a rule's own values win over the configuration's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OriginRequest {
    #[serde(rename = "noTLSVerify")]
    no_tls_verify: Option<bool>,
    origin_server_name: Option<String>,
    http_host_header: Option<String>,
    /// Whole seconds.
    connect_timeout: Option<u64>,
}

impl OriginRequest {
    fn over(self, base: &Self) -> Self {
        Self {
            no_tls_verify: self.no_tls_verify.or(base.no_tls_verify),
            origin_server_name: self
                .origin_server_name
                .or_else(|| base.origin_server_name.clone()),
            http_host_header: self
                .http_host_header
                .or_else(|| base.http_host_header.clone()),
            connect_timeout: self.connect_timeout.or(base.connect_timeout),
        }
    }

    pub(crate) fn verifies(&self) -> bool {
        !self.no_tls_verify.unwrap_or(false)
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        self.origin_server_name
            .as_deref()
            .filter(|name| !name.is_empty())
    }

    pub(crate) fn host_header(&self) -> Option<&str> {
        self.http_host_header
            .as_deref()
            .filter(|name| !name.is_empty())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout.unwrap_or(30))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// An answer the connector gives by itself.
    Status(StatusCode),
    /// `http://host:port` or `https://host:port`.
    Http(Uri),
    /// A host and its port, to which a connection is carried: `tcp://host:port` or `ssh://host`.
    Stream(String),
    /// A service of another kind, which this connector does not speak to.
    Other(String),
}

impl Service {
    fn parse(text: &str) -> Option<Self> {
        if let Some(status) = text.strip_prefix("http_status:") {
            return status.parse().ok().map(Self::Status);
        }

        if text == "hello_world" || text == "bastion" || text.starts_with("unix:") {
            return Some(Self::Other(text.to_owned()));
        }

        let uri: Uri = text.parse().ok()?;
        uri.host().filter(|host| !host.is_empty())?;
        // A path on the service has no meaning, and the real API refuses it.
        match (uri.scheme_str()?, uri.path()) {
            ("http" | "https", "" | "/") => Some(Self::Http(uri)),
            ("http" | "https", _) => None,
            ("tcp", _) => uri.port().map(|_port| Self::stream(&uri, 0)),
            ("ssh", _) => Some(Self::stream(&uri, 22)),
            ("rdp" | "smb" | "ws" | "wss", _) => Some(Self::Other(text.to_owned())),
            _ => None,
        }
    }
}

impl Service {
    fn stream(uri: &Uri, port: u16) -> Self {
        let host = uri.host().unwrap_or_default();
        Self::Stream(format!("{host}:{}", uri.port_u16().unwrap_or(port)))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Rule {
    hostname: String,
    path: Option<Regex>,
    pub(crate) service: Service,
    pub(crate) origin: OriginRequest,
}

impl Rule {
    fn matches(&self, host: &str, path: &str) -> bool {
        let named = match self.hostname.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix),
            None => self.hostname.is_empty() || self.hostname == host,
        };
        named
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(path))
    }
}

/// The rules of a tunnel, in order. Empty until a configuration was PUT.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    /// Reads the `config` of a PUT, with the checks the API makes.
    pub(crate) fn read(config: &Value) -> Result<Self, Error> {
        if config.is_null() {
            return Ok(Self::default());
        }

        let written: Written = serde_json::from_value(config.clone())
            .map_err(|error| Error::Shape(error.to_string()))?;
        let last = written.ingress.len().saturating_sub(1);
        let mut rules = Vec::new();

        for (index, rule) in written.ingress.into_iter().enumerate() {
            let catch_all =
                (rule.hostname.is_empty() || rule.hostname == "*") && rule.path.is_empty();
            match (index == last, catch_all) {
                (true, false) => return Err(Error::LastRuleFilters),
                (false, true) => return Err(Error::EarlyCatchAll(index + 1)),
                _ => {}
            }

            let stars = rule.hostname.matches('*').count();
            if stars > 1 || (stars == 1 && rule.hostname != "*" && !rule.hostname.starts_with("*."))
            {
                return Err(Error::Wildcard);
            }

            let path = match rule.path.as_str() {
                "" => None,
                pattern => Some(Regex::new(pattern).map_err(|_invalid| Error::Path(index + 1))?),
            };

            let service =
                Service::parse(&rule.service).ok_or(Error::Service(index + 1, rule.service))?;
            let origin = rule.origin_request.over(&written.origin_request);

            rules.push(Rule {
                hostname: rule.hostname.to_ascii_lowercase(),
                path,
                service,
                origin,
            });
        }

        Ok(Self(rules))
    }

    /// The first rule that takes a request, if there are rules at all.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches(host, path))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(rules: &Rules, host: &str, path: &str) -> String {
        match &rules.find(host, path).unwrap().service {
            Service::Status(status) => status.as_u16().to_string(),
            Service::Http(uri) => uri.host().unwrap().to_owned(),
            Service::Stream(other) | Service::Other(other) => other.clone(),
        }
    }

    #[test]
    fn the_first_rule_that_matches_takes_the_request() {
        let rules = Rules::read(&json!({"ingress": [
            {"hostname": "api.pr.yourdomain.com", "path": "^/v[0-9]+/", "service": "http://versioned:80"},
            {"hostname": "api.pr.yourdomain.com", "service": "http://api:80"},
            {"hostname": "*.pr.yourdomain.com", "service": "https://any:443"},
            {"path": "/health", "service": "http_status:204"},
            {"service": "http_status:404"},
        ]}))
        .unwrap();

        assert_eq!(
            service(&rules, "api.pr.yourdomain.com", "/v1/x"),
            "versioned"
        );
        assert_eq!(service(&rules, "api.pr.yourdomain.com", "/x/v1/"), "api");
        assert_eq!(service(&rules, "deep.web.pr.yourdomain.com", "/"), "any");
        assert_eq!(service(&rules, "pr.yourdomain.com", "/"), "404");
        assert_eq!(service(&rules, "elsewhere.com", "/a/health/b"), "204");
    }

    #[test]
    fn the_last_rule_must_take_everything_and_only_the_last() {
        let read = |ingress: Value| Rules::read(&json!({"ingress": ingress})).map(|_| ());
        let catch_all = json!({"service": "http_status:404"});
        let named = json!({"hostname": "a.yourdomain.com", "service": "http://a"});
        assert_eq!(read(json!([named])), Err(Error::LastRuleFilters));
        assert_eq!(
            read(json!([{"path": "/x", "service": "http://a"}])),
            Err(Error::LastRuleFilters)
        );
        assert_eq!(
            read(json!([catch_all, named, catch_all])),
            Err(Error::EarlyCatchAll(1))
        );
        assert_eq!(read(json!([named, catch_all])), Ok(()));
        assert_eq!(
            read(json!([{"hostname": "*", "service": "http://a"}])),
            Ok(())
        );
    }

    #[test]
    fn bad_hostnames_paths_and_services_are_refused() {
        let read = |rule: Value| {
            Rules::read(&json!({"ingress": [rule, {"service": "http_status:404"}]})).map(|_| ())
        };

        assert_eq!(
            read(json!({"hostname": "a*.com", "service": "http://a"})),
            Err(Error::Wildcard)
        );
        assert_eq!(
            read(json!({"hostname": "a.*.com", "service": "http://a"})),
            Err(Error::Wildcard)
        );
        assert_eq!(
            read(json!({"path": "(", "service": "http://a"})),
            Err(Error::Path(1))
        );

        for service in ["", "api:80", "http://a/path", "ftp://a", "http_status:9"] {
            let refused = read(json!({"hostname": "a.com", "service": service}));
            assert_eq!(refused, Err(Error::Service(1, service.into())));
        }

        assert!(matches!(
            read(json!({"hostname": "a.com"})),
            Err(Error::Shape(_))
        ));
    }

    #[test]
    fn a_rule_inherits_the_origin_settings_it_does_not_name() {
        let rules = Rules::read(&json!({
            "originRequest": {"noTLSVerify": true, "connectTimeout": 3},
            "ingress": [
                {"hostname": "a.com", "service": "https://a", "originRequest": {"noTLSVerify": false}},
                {"service": "https://b"},
            ],
        }))
        .unwrap();
        let first = &rules.find("a.com", "/").unwrap().origin;
        let last = &rules.find("b.com", "/").unwrap().origin;
        assert!(first.verifies() && !last.verifies());
        assert_eq!(first.connect_timeout(), Duration::from_secs(3));
    }
}

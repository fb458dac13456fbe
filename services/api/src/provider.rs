//! DNS providers as the chart names them, and which of them serves a zone for a namespace. Pure:
//! the watcher chooses by it when it makes a record, the network service when it acts.

use std::collections::BTreeSet;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::code::Code;
use crate::secret::SecretKeyRef;

/// One DNS provider of the chart's `dns.providers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// The zones that it serves, and everything below them.
    pub zones: Vec<String>,
    /// Who may use it: names, or patterns like `team-*`.
    pub namespaces: Vec<String>,
    /// Whether a Workspace may choose its own left-most label.
    pub allow_names: bool,
    /// How it is reached.
    pub kind: Kind,
}

/// How a provider is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cloudflare's API.
    Cloudflare(Cloudflare),
    /// Signed updates (RFC 2136).
    Rfc2136(Rfc2136),
    /// The zone already points here: there is nothing to do per record.
    Wildcard,
}

/// Cloudflare's API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cloudflare {
    /// The API token, which may edit the zones' records.
    pub api_token_secret_ref: SecretKeyRef,
}

/// Signed updates (RFC 2136).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rfc2136 {
    /// `host:port` of the server that takes updates.
    pub nameserver: String,
    /// The key's name.
    pub tsig_key_name: String,
    /// The key's algorithm.
    #[serde(default)]
    pub tsig_algorithm: TsigAlgorithm,
    /// The key in base64, as named.conf has it.
    pub tsig_secret_secret_ref: SecretKeyRef,
}

/// What signs an update. Weaker ones are not offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TsigAlgorithm {
    /// HMAC-SHA256
    #[default]
    #[serde(rename = "HMACSHA256")]
    Sha256,
    /// HMAC-SHA384
    #[serde(rename = "HMACSHA384")]
    Sha384,
    /// HMAC-SHA512
    #[serde(rename = "HMACSHA512")]
    Sha512,
}

/// The form in the chart: the key that is there is the kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    zones: Vec<String>,
    #[serde(default = "everyone")]
    namespaces: Vec<String>,
    #[serde(default)]
    allow_names: bool,
    cloudflare: Option<Cloudflare>,
    rfc2136: Option<Rfc2136>,
    wildcard: Option<Nothing>,
    route53: Option<serde::de::IgnoredAny>,
    #[serde(rename = "cloudDNS")]
    cloud_dns: Option<serde::de::IgnoredAny>,
}

/// `{}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn everyone() -> Vec<String> {
    vec!["*".into()]
}

impl<'de> Deserialize<'de> for Provider {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written {
            name,
            zones,
            namespaces,
            allow_names,
            cloudflare,
            rfc2136,
            wildcard,
            route53,
            cloud_dns,
        } = Written::deserialize(deserializer)?;
        let later = [
            ("route53", route53.is_some()),
            ("cloudDNS", cloud_dns.is_some()),
        ];
        if let Some((kind, _)) = later.iter().find(|(_, there)| *there) {
            return Err(D::Error::custom(format!(
                "provider {name}: {kind} is not yet supported"
            )));
        }

        let kinds = [
            cloudflare.map(Kind::Cloudflare),
            rfc2136.map(Kind::Rfc2136),
            wildcard.map(|Nothing {}| Kind::Wildcard),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            let message =
                format!("provider {name}: exactly one of cloudflare, rfc2136 and wildcard");
            return Err(D::Error::custom(message));
        };

        if zones.is_empty() {
            return Err(D::Error::custom(format!(
                "provider {name}: it serves no zone"
            )));
        }

        Ok(Self {
            name,
            zones: zones.iter().map(|zone| plain(zone)).collect(),
            namespaces,
            allow_names,
            kind,
        })
    }
}

impl Provider {
    /// The zone of this provider that holds a name: the longest, as a provider may have both a zone
    /// and one below it.
    #[must_use]
    pub fn zone_of(&self, name: &str) -> Option<&str> {
        let name = plain(name);
        let holding = self.zones.iter().filter(|zone| holds(zone, &name));
        holding.max_by_key(|zone| zone.len()).map(String::as_str)
    }

    /// Whether a namespace may use it.
    #[must_use]
    pub fn grants(&self, namespace: &str) -> bool {
        self.namespaces
            .iter()
            .any(|pattern| matches(pattern, namespace))
    }
}

/// Reads the chart's list.
///
/// # Errors
/// It is none, or two have one name.
pub fn parse(list: &str) -> Result<Vec<Provider>, serde_yaml::Error> {
    if list.trim().is_empty() {
        return Ok(Vec::new());
    }

    let providers: Vec<Provider> = serde_yaml::from_str(list)?;
    let mut names = BTreeSet::new();

    match providers
        .iter()
        .find(|provider| !names.insert(&provider.name))
    {
        Some(twice) => Err(serde_yaml::Error::custom(format!(
            "provider {}: the name stands twice",
            twice.name
        ))),
        None => Ok(providers),
    }
}

/// The provider that serves a zone for a namespace: the one with the longest matching zone, the
/// first of equals, or the one that is named. `zone` may be any name below.
///
/// # Errors
/// [`Code::ZoneNotGranted`], whether there is none or it is not granted: nobody learns of
/// others' zones.
pub fn choose<'a>(
    providers: &'a [Provider],
    zone: &str,
    namespace: &str,
    named: Option<&str>,
) -> Result<&'a Provider, Code> {
    let mut best: Option<(&Provider, usize)> = None;

    for provider in providers
        .iter()
        .filter(|provider| named.is_none_or(|named| named == provider.name))
    {
        let length = provider
            .zone_of(zone)
            .filter(|_| provider.grants(namespace))
            .map(str::len);
        if let Some(length) =
            length.filter(|length| best.is_none_or(|(_, longest)| *length > longest))
        {
            best = Some((provider, length));
        }
    }

    best.map(|(provider, _)| provider)
        .ok_or(Code::ZoneNotGranted)
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a name is this zone or below it.
fn holds(zone: &str, name: &str) -> bool {
    name.strip_suffix(zone)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// A pattern whose `*` stand for any characters, none included.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };

    let Some(text) = text.strip_prefix(begin) else {
        return false;
    };

    text.char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .any(|at| text.get(at..).is_some_and(|end| matches(rest, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
- {name: main, zones: [yourdomain.com], namespaces: ['team-*', sequencer-system], cloudflare: {apiTokenSecretRef: {name: dns, key: apiKey}}}
- {name: lab, zones: [preview.test], rfc2136: {nameserver: '10.0.0.53:53', tsigKeyName: seq, tsigAlgorithm: HMACSHA256, tsigSecretSecretRef: {name: tsig, key: secret}}}
- {name: below, zones: [Dev.YourDomain.com., other.test], wildcard: {}}
- {name: same, zones: [preview.test], allowNames: true, wildcard: {}}
";

    fn chosen(zone: &str, namespace: &str, named: Option<&str>) -> Result<String, Code> {
        let providers = parse(LIST).unwrap();
        choose(&providers, zone, namespace, named).map(|provider| provider.name.clone())
    }

    #[test]
    fn the_longest_zone_wins_and_of_equals_the_first() {
        assert_eq!(chosen("yourdomain.com", "team-a", None), Ok("main".into()));
        assert_eq!(
            chosen("dev.yourdomain.com", "team-a", None),
            Ok("below".into())
        );
        assert_eq!(
            chosen("a.dev.yourdomain.com", "team-a", None),
            Ok("below".into())
        );
        assert_eq!(
            chosen("dev2.yourdomain.com", "team-a", None),
            Ok("main".into())
        );
        assert_eq!(chosen("preview.test", "anybody", None), Ok("lab".into()));
    }

    #[test]
    fn a_zone_of_nobody_and_one_that_ends_alike_are_e6051() {
        for zone in ["elsewhere.com", "notyourdomain.com", "com", ""] {
            assert_eq!(
                chosen(zone, "team-a", None),
                Err(Code::ZoneNotGranted),
                "{zone}"
            );
        }
    }

    #[test]
    fn a_provider_serves_only_the_namespaces_that_it_is_granted_to() {
        assert_eq!(
            chosen("yourdomain.com", "sequencer-system", None),
            Ok("main".into())
        );
        for namespace in ["team", "other", "a-team-x", "sequencer-system2", ""] {
            assert_eq!(
                chosen("yourdomain.com", namespace, None),
                Err(Code::ZoneNotGranted),
                "{namespace}"
            );
        }
        // Where the longest is not granted, a shorter one that is may serve.
        let mut providers = parse(LIST).unwrap();
        providers[2].namespaces.clear();
        assert_eq!(
            choose(&providers, "dev.yourdomain.com", "team-a", None)
                .unwrap()
                .name,
            "main"
        );
    }

    #[test]
    fn a_named_provider_is_taken_if_it_serves_the_zone() {
        assert_eq!(
            chosen("preview.test", "anybody", Some("same")),
            Ok("same".into())
        );
        assert_eq!(
            chosen("preview.test", "anybody", Some("main")),
            Err(Code::ZoneNotGranted)
        );
        assert_eq!(
            chosen("yourdomain.com", "other", Some("main")),
            Err(Code::ZoneNotGranted)
        );
        assert_eq!(
            chosen("preview.test", "anybody", Some("unknown")),
            Err(Code::ZoneNotGranted)
        );
    }

    #[test]
    fn a_record_lives_in_the_zone_of_the_provider() {
        let providers = parse(LIST).unwrap();
        assert_eq!(
            providers[2].zone_of("x.a.dev.yourdomain.com"),
            Some("dev.yourdomain.com")
        );
        assert_eq!(providers[2].zone_of("yourdomain.com"), None);
    }

    #[test]
    fn kinds_that_do_not_exist_yet_and_lists_that_contradict_themselves_are_refused() {
        for wrong in [
            "- {name: a, zones: [x.test], route53: {hostedZoneID: Z1}}",
            "- {name: a, zones: [x.test], cloudDNS: {project: p}}",
            "- {name: a, zones: [x.test]}",
            "- {name: a, zones: [x.test], wildcard: {}, cloudflare: {apiTokenSecretRef: {name: a, key: b}}}",
            "- {name: a, zones: [], wildcard: {}}",
            "- {name: a, zones: [x.test], wildcard: {}, namespace: ['*']}",
            "- {name: a, zones: [x.test], wildcard: {}}\n- {name: a, zones: [y.test], wildcard: {}}",
            "- {name: a, zones: [x.test], rfc2136: {nameserver: n, tsigKeyName: k, tsigAlgorithm: HMACMD5, tsigSecretSecretRef: {name: a, key: b}}}",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("").unwrap().is_empty() && parse("[]").unwrap().is_empty());
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "a", true),
            ("team-*", "team-", true),
            ("team-*", "team", false),
            ("*-x", "a-x", true),
            ("*-x", "a-xy", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}

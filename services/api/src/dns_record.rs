//! `DNSRecord`: one record at a DNS provider. The object's name is the record's, so that the API
//! server is the lock on it.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pattern::ZONE;
use crate::status::dns_record::DNSRecordStatus;

/// One record at a DNS provider.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "se.quencer.io",
    version = "v1alpha1",
    kind = "DNSRecord",
    plural = "dnsrecords",
    shortname = "dnsr",
    category = "sequencer",
    namespaced,
    status = "DNSRecordStatus",
    doc = "One record at a DNS provider.",
    validation = Rule::new("self.metadata.name == self.spec.name + '.' + self.spec.zone + '.' + self.spec.recordType.lowerAscii()")
        .message("E#6062 metadata.name: must be <name>.<zone>.<type in lower case>"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.recordType"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Provider", type_ = "string", json_path = ".status.record.provider", priority = 1),
    printcolumn(name = "TTL", type_ = "integer", json_path = ".spec.ttl", priority = 1),
    printcolumn(
        name = "Workspace-Namespace",
        type_ = "string",
        json_path = ".metadata.labels['se\\.quencer\\.io/workspace-namespace']",
        priority = 1
    ),
    printcolumn(
        name = "Workspace",
        type_ = "string",
        json_path = ".metadata.labels['se\\.quencer\\.io/workspace']",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.zone == oldSelf.zone && self.name == oldSelf.name && self.recordType == oldSelf.recordType && has(self.provider) == has(oldSelf.provider) && (!has(self.provider) || self.provider == oldSelf.provider)")
        .message("E#6062 zone, name, recordType and provider cannot change; make another record"),
    validation = Rule::new("self.name.size() + self.zone.size() <= 239").message("E#6052 name and zone: together at most 240 characters"),
    validation = Rule::new("self.recordType != 'A' || !has(self.target) || self.target.matches('^([0-9]{1,3}[.]){3}[0-9]{1,3}$')")
        .message("E#6072 target: an A record has an IPv4 address"),
    validation = Rule::new("self.recordType != 'AAAA' || !has(self.target) || self.target.matches('^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$')")
        .message("E#6072 target: an AAAA record has an IPv6 address"),
    validation = Rule::new("self.recordType != 'CNAME' || !has(self.target) || self.target.matches('^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?[.]?$')")
        .message("E#6072 target: a CNAME record has a host name")
)]
pub struct DNSRecordSpec {
    /// The zone that the record is made in.
    #[schemars(
        length(min = 1, max = 190),
        regex(pattern = ZONE)
    )]
    pub zone: String,
    /// The name relative to the zone; neither its apex nor a wildcard.
    #[schemars(
        length(min = 1, max = 190),
        regex(
            pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$"
        )
    )]
    pub name: String,
    /// The record's type; it cannot be changed.
    pub record_type: RecordType,
    /// A provider of the chart; the one with the longest matching zone if absent.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// An address, a host or a text, by the type; it may change. Without one the host is held, and
    /// nothing is published.
    #[schemars(length(min = 1, max = 255))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How many seconds resolvers keep it; the chart's if absent.
    #[schemars(range(min = 1, max = 86400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i32>,
    /// What only some providers know: `proxied` at Cloudflare.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl DNSRecordSpec {
    /// The whole name, without a dot at its end.
    #[must_use]
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.zone)
    }
}

/// The type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// A name that this one is an alias of.
    Cname,
    /// Text, such as an ownership mark.
    Txt,
}

impl RecordType {
    /// The types that hold addresses of a host.
    pub const ADDRESSES: [Self; 3] = [Self::A, Self::Aaaa, Self::Cname];

    /// As zone files write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
        }
    }
}

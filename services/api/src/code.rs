//! The error codes that users meet. Each stands in `errors.md` with what happened, why, and what to do.

use std::fmt;

/// An error code, shown as `E#nnnn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

impl Code {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// With these a step that has not failed says when it looks again: nothing is wrong, it only takes its time.
pub const WAITING: [Code; 3] = [Code::STILL_THERE, Code::NOT_CONNECTED, Code::NOT_RESOLVED];

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "E#{:04}", self.0)
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal;)+) => {
        impl Code {
            $($(#[doc = $doc])+ pub const $name: Self = Self($number);)+
        }

        /// Every code, in ascending order.
        pub const CODES: &[Code] = &[$(Code::$name),+];
    };
}

codes! {
    /// A ConfigMap that is needed, or its key, is not there.
    NO_CONFIG_MAP = 1001;
    /// `valuesFrom` names both a ConfigMap and a Secret, or neither.
    VALUES_FROM = 1002;
    /// An import names no source.
    CONTENT_FROM = 1003;
    /// A Build was changed.
    BUILD_IMMUTABLE = 1005;
    /// A Secret does not have the keys of its authScheme.
    SECRET_KEYS = 1006;
    /// A Secret that is needed is not named or not there.
    NO_SECRET = 1007;
    /// The Dockerfile or the context is not in the source.
    NO_DOCKERFILE = 1008;
    /// The builder itself cannot work: git, its disk or BuildKit.
    BUILDER = 1009;
    /// A step of a build failed.
    BUILD_STEP = 1011;
    /// There is no such branch, tag or commit.
    NO_COMMIT = 1012;
    /// A Secret's value is empty.
    SECRET_EMPTY = 1013;
    /// Something that this version does not support.
    UNSUPPORTED = 1014;
    /// A source that is too big.
    SOURCE_LIMIT = 1015;
    /// The git server refused, or did not answer.
    GIT_REFUSED = 1016;
    /// A git server's host key is not the known one.
    HOST_KEY = 1017;
    /// A build took longer than its timeout, or the timeout is out of range.
    BUILD_TIMEOUT = 1018;
    /// A build ran out of memory or disk.
    BUILD_RESOURCES = 1019;
    /// A registry refuses the login, or the lack of one.
    REGISTRY_REFUSED = 1020;
    /// A registry has no such repository.
    NO_REPOSITORY = 1021;
    /// Something about a registry that this version cannot do.
    REGISTRY_UNSUPPORTED = 1022;
    /// A container ends again and again, or a Job failed.
    CRASH = 2005;
    /// A variable that does not end.
    UNTERMINATED_VARIABLE = 2006;
    /// A variable that names something that does not exist.
    UNKNOWN_NAME = 2009;
    /// A variable with too few or too many parts.
    VARIABLE_FORMAT = 2012;
    /// A variable of a component's part that has no variables.
    VARIABLE_SECTION = 2013;
    /// A generated variable inside a longer text.
    GENERATED_INSIDE = 2016;
    /// Two Components of one name in a namespace, without a Workspace.
    TWO_OF_ONE_NAME = 2017;
    /// An image cannot be pulled.
    IMAGE_PULL = 2020;
    /// No node has a place for a pod.
    UNSCHEDULABLE = 2021;
    /// A quota of the namespace is used up.
    QUOTA = 2022;
    /// The API server refuses an object.
    ADMISSION = 2023;
    /// An init container failed.
    INIT_CONTAINER = 2024;
    /// A roll-out made no progress for too long.
    DEADLINE = 2025;
    /// A Secret does not have the key that is named.
    SECRET_KEY_MISSING = 3004;
    /// A DNS provider refuses what is asked of it.
    DNS_REFUSED = 3007;
    /// A tunnel provider refuses what is asked of it.
    TUNNEL_REFUSED = 3010;
    /// A tunnel names no provider.
    NO_TUNNEL_PROVIDER = 3012;
    /// The Service that DNS should point to is not there.
    LOAD_BALANCER = 3013;
    /// Gateways are not served yet.
    GATEWAY = 3014;
    /// A host that another Workspace has.
    HOST_TAKEN = 3020;
    /// Something outside the cluster is not deleted yet.
    STILL_THERE = 3021;
    /// A tunnel's connector has no connection.
    NOT_CONNECTED = 3022;
    /// The URL does not answer.
    NO_ANSWER = 3023;
    /// A provider is out of reach or limits us.
    PROVIDER_AWAY = 4001;
    /// The authoritative name servers do not answer with the record.
    NOT_RESOLVED = 4002;
    /// A registry does not answer.
    REGISTRY_UNREACHABLE = 4010;
    /// A registry does not take what it is sent.
    REGISTRY_ANSWER = 4011;
    /// The API server did not answer, or refused.
    CLUSTER = 5001;
    /// An object of this name that somebody else made.
    NOT_OURS = 5011;
    /// An object that this version cannot read.
    UNREADABLE = 5012;
    /// The staging registry does not answer, or refuses.
    STAGING = 5020;
    /// A staged image is not there, is damaged, or cannot be copied.
    STAGED_IMAGE = 5021;
    /// Two networks of one name.
    DUPLICATE_NETWORK = 6005;
    /// A target port that no container has.
    TARGET_PORT = 6007;
    /// A component waits for itself.
    DEPENDS_ON_ITSELF = 6009;
    /// Components that wait for each other in a circle.
    DEPENDENCY_CYCLE = 6010;
    /// A component waits for one that does not exist.
    UNKNOWN_DEPENDENCY = 6011;
    /// A condition that no component can have.
    UNKNOWN_CONDITION = 6012;
    /// A template asks for the node's namespaces or ports.
    HOST = 6020;
    /// A template asks for a volume of a kind that is not allowed.
    VOLUME = 6021;
    /// A template asks for more privilege than is allowed.
    PRIVILEGE = 6022;
    /// A template asks for a service account.
    SERVICE_ACCOUNT = 6023;
    /// A template asks for a node, a runtime or a priority of the system's.
    PLACEMENT = 6024;
    /// A Secret of another namespace without consent or grant.
    NOT_SHARED = 6026;
    /// A Secret that is bound to another host.
    OTHER_HOST = 6027;
    /// A path that leaves the source tree.
    PATH = 6030;
    /// A Dockerfile that leaves the source tree.
    LEAVES_TREE = 6031;
    /// Two imports into one folder.
    OVERLAPPING_IMPORTS = 6032;
    /// A git URL of another scheme.
    GIT_SCHEME = 6033;
    /// A git URL with a part that a program would take for an option.
    GIT_OPTION = 6034;
    /// Something that is no ref.
    GIT_REF = 6035;
    /// A login in a URL.
    LOGIN_IN_URL = 6036;
    /// A private address that is not allowed.
    ADDRESS = 6037;
    /// A malformed URL.
    MALFORMED_URL = 6038;
    /// Something that is no repository.
    REPOSITORY = 6040;
    /// A build argument that is reserved, malformed or secret.
    BUILD_ARGUMENT = 6043;
    /// A zone that no provider serves for this namespace.
    ZONE_NOT_GRANTED = 6051;
    /// A host that is too long.
    HOST_TOO_LONG = 6052;
    /// Both a tunnel and an ingress, or neither.
    TUNNEL_OR_INGRESS = 6053;
    /// A route to a component or network that does not exist.
    UNKNOWN_ROUTE = 6054;
    /// A Workspace's name that is no DNS label.
    WORKSPACE_NAME = 6061;
    /// A DNSRecord whose name is not its record's, or whose identity was changed.
    RECORD_NAME = 6062;
    /// More Workspaces than a namespace may have.
    WORKSPACE_QUOTA = 6063;
    /// A time to live out of range.
    TTL = 6064;
    /// An annotation of an Ingress that is not allowed.
    INGRESS_ANNOTATION = 6065;
    /// A pool of builders that the chart does not have.
    UNKNOWN_POOL = 6066;
    /// A poll interval out of range.
    INTERVAL = 6067;
    /// Labels or annotations that are the operator's own.
    RESERVED_KEY = 6068;
    /// A variable with both a value and `generate`, or neither.
    VARIABLE_VALUE = 6069;
    /// An ingress with both a class and a Gateway.
    CLASS_OR_GATEWAY = 6070;
    /// An ingress with two sources of its certificate.
    CERTIFICATE_SOURCE = 6071;
    /// A DNSRecord whose target does not fit its type.
    RECORD_TARGET = 6072;
    /// A namespace whose Secrets the services may not read.
    NO_TENANT = 6073;
    /// Work that ended without a record again and again.
    POISON = 6101;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::crd::definitions;

    /// The codes that a text names.
    fn named(text: &str) -> BTreeSet<String> {
        let starts = text.match_indices("E#").filter_map(|(at, _)| text.get(at..at + 6));
        starts.filter(|code| code.bytes().skip(2).all(|digit| digit.is_ascii_digit())).map(Into::into).collect()
    }

    fn known() -> BTreeSet<String> {
        CODES.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn codes_ascend_and_none_stands_twice() {
        assert!(CODES.is_sorted());
        assert_eq!(known().len(), CODES.len());
    }

    #[test]
    fn every_code_has_its_entry_and_every_entry_its_code() {
        let page = include_str!("../errors.md");
        let entries: Vec<_> = page.lines().filter(|line| line.starts_with("## E#")).collect();
        assert_eq!(named(&entries.join("\n")), known());
        assert_eq!(page.matches("\n**Why:** ").count(), entries.len());
        assert_eq!(page.matches("\n**Do:** ").count(), entries.len());
    }

    #[test]
    fn every_code_of_the_schemas_is_known() {
        let schemas: String = definitions().unwrap().iter().map(|definition| definition.value.to_string()).collect();
        let named = named(&schemas);
        assert!(named.len() > 20 && named.is_subset(&known()), "{:?}", named.difference(&known()));
    }
}

//! Who may talk to whom, by the NetworkPolicies that are there: the meaning of networking.k8s.io/v1
//! in pure functions, so that tests ask what holds and not what objects look like. What a network
//! plugin makes of the objects is another question.

use std::net::IpAddr;

use serde_json::{Map, Value};

/// By it a policy names a namespace; no other label of a namespace is known here.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pod: Option<Value>,
    address: Option<IpAddr>,
}

impl Peer {
    /// A pod as the API server shows it, or a template of pods with the namespace in its metadata.
    #[must_use]
    pub fn pod(pod: &Value) -> Self {
        let address = pod
            .pointer("/status/podIP")
            .and_then(Value::as_str)
            .and_then(|address| address.parse().ok());
        Self {
            pod: Some(pod.clone()),
            address,
        }
    }

    /// A pod with labels alone.
    #[must_use]
    pub fn labelled(namespace: &str, labels: &Value) -> Self {
        Self::pod(&serde_json::json!({"metadata": {"namespace": namespace, "labels": labels}}))
    }

    /// What is no pod.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self {
            pod: None,
            address: Some(address),
        }
    }

    fn namespace(&self) -> Option<&str> {
        self.pod.as_ref()?.pointer("/metadata/namespace")?.as_str()
    }

    fn labels(&self) -> Map<String, Value> {
        let labels = self
            .pod
            .as_ref()
            .and_then(|pod| pod.pointer("/metadata/labels"));
        labels
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    }

    /// The number behind a port's name.
    fn named_port(&self, name: &str, protocol: &str) -> Option<u64> {
        let containers = self.pod.as_ref()?.pointer("/spec/containers")?.as_array()?;
        let mut ports = containers
            .iter()
            .flat_map(|container| list(container, "ports"));
        let found = ports.find(|port| {
            port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol
        })?;
        found["containerPort"].as_u64()
    }
}

/// Whether a connection may be opened: the one who opens it may reach out, and the other one lets
/// it in.
#[must_use]
pub fn allows(policies: &[Value], from: &Peer, to: &Peer, protocol: &str, port: u16) -> bool {
    let direction = |kind: &str, rules: &str, peers: &str, own: &Peer, other: &Peer| {
        let mut selecting = policies
            .iter()
            .filter(|policy| selects(policy, own) && has_type(policy, kind))
            .peekable();
        let matches = |policy: &Value, rule: &Value| {
            is_peer(policy, list(rule, peers), other)
                && is_port(list(rule, "ports"), to, protocol, u64::from(port))
        };

        // Whom no policy selects everybody may talk to.
        selecting.peek().is_none()
            || selecting.any(|policy| {
                list(at(policy, "/spec"), rules)
                    .iter()
                    .any(|rule| matches(policy, rule))
            })
    };
    direction("Egress", "egress", "to", from, to)
        && direction("Ingress", "ingress", "from", to, from)
}

/// Whether a policy is about a pod.
#[must_use]
pub fn selects(policy: &Value, pod: &Peer) -> bool {
    at(policy, "/metadata/namespace").as_str() == pod.namespace()
        && matches(at(policy, "/spec/podSelector"), &pod.labels())
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn has_type(policy: &Value, kind: &str) -> bool {
    match at(policy, "/spec/policyTypes").as_array() {
        Some(types) => types.iter().any(|each| each == kind),
        None => kind == "Ingress" || !list(at(policy, "/spec"), "egress").is_empty(),
    }
}

/// No peers are all peers.
fn is_peer(policy: &Value, peers: &[Value], other: &Peer) -> bool {
    let is = |peer: &Value| {
        if let Some(block) = peer.get("ipBlock") {
            return other
                .address
                .is_some_and(|address| is_in_block(block, address));
        }
        let Some(namespace) = other.namespace() else {
            return false;
        };
        let here = match peer.get("namespaceSelector") {
            Some(selector) => matches(
                selector,
                &Map::from_iter([(NAMESPACE_NAME.to_owned(), namespace.into())]),
            ),
            None => at(policy, "/metadata/namespace") == namespace,
        };
        here && peer
            .get("podSelector")
            .is_none_or(|selector| matches(selector, &other.labels()))
    };
    peers.is_empty() || peers.iter().any(is)
}

/// No ports are all ports.
fn is_port(ports: &[Value], to: &Peer, protocol: &str, port: u64) -> bool {
    let is = |allowed: &Value| {
        if allowed["protocol"].as_str().unwrap_or("TCP") != protocol {
            return false;
        }

        let first = match &allowed["port"] {
            Value::Null => return true,
            Value::String(name) => to.named_port(name, protocol),
            number => number.as_u64(),
        };

        first.is_some_and(|first| {
            (first..=allowed["endPort"].as_u64().unwrap_or(first)).contains(&port)
        })
    };
    ports.is_empty() || ports.iter().any(is)
}

/// Whether labels fit a selector (metav1.LabelSelector); one that says nothing fits all.
fn matches(selector: &Value, labels: &Map<String, Value>) -> bool {
    let all = selector["matchLabels"].as_object().into_iter().flatten();
    all.into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && list(selector, "matchExpressions").iter().all(|expression| {
            let label = expression["key"].as_str().and_then(|key| labels.get(key));
            let listed = label.is_some_and(|label| list(expression, "values").contains(label));
            match expression["operator"].as_str() {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => label.is_some(),
                Some("DoesNotExist") => label.is_none(),
                _ => false,
            }
        })
}

fn is_in_block(block: &Value, address: IpAddr) -> bool {
    let is_in = |range: &Value| {
        range
            .as_str()
            .is_some_and(|range| is_in_range(range, address))
    };
    is_in(&block["cidr"]) && !list(block, "except").iter().any(is_in)
}

fn is_in_range(range: &str, address: IpAddr) -> bool {
    let parsed = range
        .split_once('/')
        .and_then(|(base, length)| Some((base.parse().ok()?, length.parse::<u32>().ok()?)));
    let (base, address, width, length) = match (parsed, address) {
        (Some((IpAddr::V4(base), length)), IpAddr::V4(address)) => (
            u128::from(base.to_bits()),
            u128::from(address.to_bits()),
            u32::BITS,
            length,
        ),
        (Some((IpAddr::V6(base), length)), IpAddr::V6(address)) => {
            (base.to_bits(), address.to_bits(), u128::BITS, length)
        }
        _ => return false,
    };

    // All bits are shifted out of a range of everything.
    let prefix = |bits: u128| {
        width
            .checked_sub(length)
            .map(|rest| bits.checked_shr(rest).unwrap_or_default())
    };

    prefix(base).is_some() && prefix(base) == prefix(address)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(spec: Value) -> Value {
        json!({"metadata": {"namespace": "here"}, "spec": spec})
    }

    fn pod(namespace: &str, app: &str) -> Peer {
        let ports = json!([{"name": "web", "containerPort": 8080}]);
        Peer::pod(&json!({
            "metadata": {"namespace": namespace, "labels": {"app": app}}, "spec": {"containers": [{"ports": ports}]},
            "status": {"podIP": "10.1.2.3"},
        }))
    }

    fn address(text: &str) -> Peer {
        Peer::address(text.parse().unwrap())
    }

    /// Whether a pod `a` lets in by this rule what comes from here.
    fn lets_in(rule: Value, from: &Peer, port: u16) -> bool {
        let policy =
            policy(json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [rule]}));
        allows(&[policy], from, &pod("here", "a"), "TCP", port)
    }

    #[test]
    fn whom_no_policy_selects_everybody_reaches_and_no_rule_is_nobody() {
        let closed = policy(
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress", "Egress"]}),
        );
        let closed = std::slice::from_ref(&closed);
        assert!(allows(
            closed,
            &pod("here", "b"),
            &pod("here", "c"),
            "TCP",
            1
        ));
        assert!(allows(
            closed,
            &pod("there", "a"),
            &pod("there", "a"),
            "TCP",
            1
        ));
        assert!(!allows(
            closed,
            &pod("here", "b"),
            &pod("here", "a"),
            "TCP",
            1
        ));
        assert!(!allows(
            closed,
            &pod("here", "a"),
            &pod("here", "b"),
            "TCP",
            1
        ));
        assert!(allows(
            &[],
            &address("192.0.2.1"),
            &pod("here", "a"),
            "UDP",
            1
        ));
    }

    #[test]
    fn both_ends_have_to_agree_and_policies_add_up() {
        let out = policy(
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 1}]}]}),
        );
        let more = policy(
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 2}]}]}),
        );
        let in_ =
            policy(json!({"podSelector": {}, "ingress": [{"ports": [{"port": 2}, {"port": 3}]}]}));
        let open = |policies: &[&Value]| {
            let policies: Vec<_> = policies.iter().map(|policy| (*policy).clone()).collect();
            let open = |port: &u16| {
                allows(
                    &policies,
                    &pod("here", "a"),
                    &pod("here", "b"),
                    "TCP",
                    *port,
                )
            };
            (1..=4).filter(open).collect::<Vec<_>>()
        };
        assert_eq!(open(&[&out]), [1]);
        assert_eq!(open(&[&out, &more]), [1, 2]);
        assert_eq!(open(&[&out, &more, &in_]), [2]);
        assert_eq!(open(&[&in_]), [2, 3]);
    }

    #[test]
    fn peers_are_pods_of_here_of_named_namespaces_or_addresses() {
        let labels = json!({"matchLabels": {"app": "b"}});
        let (here, there) = (pod("here", "b"), pod("there", "b"));
        let from = |peer: Value, other: &Peer| lets_in(json!({"from": [peer]}), other, 1);
        assert!(
            from(json!({"podSelector": labels}), &here)
                && !from(json!({"podSelector": labels}), &there)
        );
        assert!(!from(json!({"podSelector": labels}), &pod("here", "c")));
        let named = json!({"matchLabels": {NAMESPACE_NAME: "there"}});
        let both = json!({"namespaceSelector": named, "podSelector": labels});
        assert!(
            from(both.clone(), &there)
                && !from(both.clone(), &here)
                && !from(both, &pod("there", "c"))
        );
        assert!(from(
            json!({"namespaceSelector": {}}),
            &pod("anywhere", "x")
        ));
        assert!(!from(
            json!({"namespaceSelector": {}}),
            &address("192.0.2.1")
        ));
        let block =
            json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.0.0/16"]}});
        assert!(from(block.clone(), &address("192.0.2.1")));
        for closed in ["10.1.2.3", "169.254.169.254", "2001:db8::1"] {
            assert!(!from(block.clone(), &address(closed)), "{closed}");
        }
        let six = json!({"ipBlock": {"cidr": "::/0", "except": ["fc00::/7"]}});
        assert!(
            from(six.clone(), &address("2001:db8::1")) && !from(six.clone(), &address("fd00::1"))
        );
        assert!(!from(six, &address("192.0.2.1")));
        assert!(lets_in(json!({}), &address("192.0.2.1"), 1));
    }

    #[test]
    fn ports_are_numbers_ranges_and_names_of_a_protocol() {
        let open =
            |port: Value, number: u16| lets_in(json!({"ports": [port]}), &pod("here", "b"), number);
        assert!(open(json!({"port": 80}), 80) && !open(json!({"port": 80}), 81));
        assert!(
            open(json!({"port": 80, "endPort": 90}), 90)
                && !open(json!({"port": 80, "endPort": 90}), 91)
        );
        assert!(open(json!({"port": "web"}), 8080) && !open(json!({"port": "web"}), 80));
        assert!(
            !open(json!({"port": "other"}), 8080)
                && !open(json!({"port": 80, "protocol": "UDP"}), 80)
        );
        assert!(open(json!({}), 1) && !open(json!({"protocol": "UDP"}), 1));
    }

    #[test]
    fn selectors_are_labels_and_expressions() {
        let fits =
            |selector: Value| matches(&selector, &Map::from_iter([("a".to_owned(), json!("1"))]));
        let expression = |operator: &str, key: &str, values: &[&str]| {
            fits(
                json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        assert!(fits(json!({})) && fits(Value::Null) && !fits(json!({"matchLabels": {"a": "2"}})));
        assert!(expression("In", "a", &["1", "2"]) && !expression("In", "b", &["1"]));
        assert!(expression("NotIn", "b", &["1"]) && !expression("NotIn", "a", &["1"]));
        assert!(expression("Exists", "a", &[]) && !expression("DoesNotExist", "a", &[]));
    }
}

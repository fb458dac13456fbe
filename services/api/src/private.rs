//! The private address ranges: what a policy that lets pods into the internet leaves out, and no
//! URL of a user leads to.

/// Private ranges of IPv4: those of networks (RFC 1918), of carriers (RFC 6598), and of links, where
/// clouds answer questions about a machine.
pub const IPV4: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
];

/// Private ranges of IPv6: unique local addresses and those of links.
pub const IPV6: [&str; 2] = ["fc00::/7", "fe80::/10"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charts_own_policies_leave_out_the_same_ranges() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../charts/sequencer/templates/networkpolicies.yaml"
        );
        let policies = std::fs::read_to_string(file).unwrap();
        let (four, six) = (IPV4.join(", "), format!("{IPV6:?}"));
        assert!(policies.contains(&format!("except: [{four}]")), "{four}");
        assert!(policies.contains(&format!("except: {six}")), "{six}");
        assert_eq!(policies.matches("except:").count(), 2);
    }
}

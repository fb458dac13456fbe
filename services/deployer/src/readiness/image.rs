//! Why an image cannot be pulled, from the words of the kubelet and the runtime: they have no codes
//! for it.

use sequencer_api::code::Code;

/// The kubelet's reasons for an image that is not to be had (`pkg/kubelet/images/types.go`).
const REASONS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// What stands in the words where nobody who wrote a template can help it.
const UNAVAILABLE: [&str; 19] = [
    "429 too many requests",
    "toomanyrequests",
    "500 internal server error",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway timeout",
    "no such host",
    "server misbehaving",
    "connection refused",
    "connection reset",
    "network is unreachable",
    "no route to host",
    "i/o timeout",
    "tls handshake timeout",
    "context deadline exceeded",
    "unexpected eof",
    ": x509: ",
    "no space left on device",
    "pull qps exceeded",
];

/// What stands in them where the registry lets nobody have it who is not known.
const UNAUTHORIZED: [&str; 5] = [
    "401 unauthorized",
    "403 forbidden",
    "pull access denied",
    "authorization failed",
    "no basic auth credentials",
];

/// Returns whether a container waits because its image cannot be pulled.
pub(super) fn is_pull(reason: &str) -> bool {
    REASONS.contains(&reason)
}

/// Returns the code of a failed pull, and what is to be said of it.
pub(super) fn failure(image: &str, words: &str) -> (Code, String) {
    let lower = words.to_ascii_lowercase();
    let says = |one_of: &[&str]| one_of.iter().any(|each| lower.contains(each));

    if says(&UNAVAILABLE) || lower.ends_with(": eof") {
        let message = format!("cannot pull {image}: {}", cause(words));
        return (Code::RegistryUnavailable, message);
    }

    let message = if says(&UNAUTHORIZED) {
        format!("cannot pull {image}: its registry wants a login, or refuses the one of the pod")
    } else if lower.ends_with(": not found") {
        format!("cannot pull {image}: its registry has no such image")
    } else {
        format!("cannot pull {image}: {}", cause(words))
    };
    (Code::ImagePullFailed, message)
}

/// The first cause: errors that pass through several hands are joined by colons.
fn cause(words: &str) -> &str {
    let words = words.trim();
    words.rsplit_once(": ").map_or(words, |(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLVING: &str =
        r#"failed to pull and unpack image "r.io/a:1": failed to resolve reference "r.io/a:1""#;

    /// What is told of words of containerd, which the kubelet repeats while it waits for its next try.
    fn told(words: &str) -> (Code, String) {
        let words = format!("{RESOLVING}: {words}");
        let waiting = format!(r#"Back-off pulling image "r.io/a:1": ErrImagePull: {words}"#);
        let told = failure("r.io/a:1", &words);
        assert_eq!(failure("r.io/a:1", &waiting), told);
        told
    }

    #[test]
    fn what_nobody_who_wrote_a_template_can_help_is_e4010() {
        for (words, cause) in [
            (
                "unexpected status from HEAD request to https://r.io/v2/a/manifests/1: 503 Service Unavailable",
                "503 Service Unavailable",
            ),
            (
                "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r.io/token: 429 Too Many Requests",
                "429 Too Many Requests",
            ),
            (
                r#"failed to do request: Head "https://r.io/v2/a/manifests/1": dial tcp: lookup r.io on 10.96.0.10:53: no such host"#,
                "no such host",
            ),
            (
                r#"failed to do request: Head "https://r.io/v2/a/manifests/1": dial tcp 192.0.2.1:443: connect: connection refused"#,
                "connection refused",
            ),
            (
                r#"failed to do request: Head "https://r.io/v2/a/manifests/1": dial tcp 192.0.2.1:443: i/o timeout"#,
                "i/o timeout",
            ),
            (
                r#"failed to do request: Head "https://r.io/v2/a/manifests/1": tls: failed to verify certificate: x509: certificate signed by unknown authority"#,
                "certificate signed by unknown authority",
            ),
        ] {
            let message = format!("cannot pull r.io/a:1: {cause}");
            assert_eq!(told(words), (Code::RegistryUnavailable, message));
        }
    }

    #[test]
    fn what_its_user_can_mend_is_e2020_in_plain_words() {
        for (words, said) in [
            ("r.io/a:1: not found", "its registry has no such image"),
            (
                "r.io/team/x509:1: not found",
                "its registry has no such image",
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                "its registry wants a login, or refuses the one of the pod",
            ),
            (
                "failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://r.io/token: 401 Unauthorized",
                "its registry wants a login, or refuses the one of the pod",
            ),
        ] {
            let message = format!("cannot pull r.io/a:1: {said}");
            assert_eq!(told(words), (Code::ImagePullFailed, message));
        }

        let invalid = r#"Failed to apply default image tag "A b": couldn't parse image name "A b": invalid reference format"#;
        let message = "cannot pull A b: invalid reference format";
        assert_eq!(
            failure("A b", invalid),
            (Code::ImagePullFailed, message.into())
        );
    }
}

//! What git's own words mean. Pure.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There is no such ref or commit.
    NoRef,
    /// The host's key is not the one that is known.
    HostKey,
    /// The server wants a login, or another one.
    Login,
    /// The server refused or did not answer.
    Refused,
}

/// Words of git, ssh and servers (in the C locale), and what they mean. Whatever is not listed is
/// [`Why::Refused`].
const WORDS: [(&str, Why); 13] = [
    ("Host key verification failed", Why::HostKey),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Why::HostKey),
    ("No ED25519 host key is known", Why::HostKey),
    ("Authentication failed", Why::Login),
    ("could not read Username", Why::Login),
    ("could not read Password", Why::Login),
    ("Permission denied (", Why::Login),
    ("couldn't find remote ref", Why::NoRef),
    ("not our ref", Why::NoRef),
    ("unadvertised object", Why::NoRef),
    ("no such remote ref", Why::NoRef),
    ("bad object", Why::NoRef),
    ("did not match any", Why::NoRef),
];

/// The most characters of git's words that an error carries.
const LONGEST: usize = 200;

/// Why it failed, by its output.
pub(super) fn why(stderr: &str) -> Why {
    let found = WORDS.iter().find(|(words, _)| stderr.contains(words));
    found.map_or(Why::Refused, |(_, why)| *why)
}

/// The line that tells most, without control characters.
pub(super) fn telling(stderr: &str) -> String {
    let lines = || {
        stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };

    let generic = |line: &str| {
        line.starts_with("fatal: Could not read from remote")
            || line.starts_with("Please make sure")
            || line.starts_with("and the repository")
    };

    let telling = lines().rfind(|line| line.starts_with("fatal:") && !generic(line));
    let line = telling
        .or_else(|| lines().rfind(|line| !generic(line)))
        .unwrap_or("nothing");

    line.trim_start_matches("fatal: ")
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_words_are_understood() {
        for (stderr, wanted) in [
            (
                "No ED25519 host key is known for github.com\nHost key verification failed.\nfatal: Could not read",
                Why::HostKey,
            ),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote",
                Why::Login,
            ),
            (
                "fatal: Authentication failed for 'https://github.com/a/'",
                Why::Login,
            ),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
                Why::Login,
            ),
            ("fatal: couldn't find remote ref refs/heads/x", Why::NoRef),
            (
                "fatal: remote error: upload-pack: not our ref aaaa",
                Why::NoRef,
            ),
            (
                "fatal: unable to access 'https://h/': Connection refused",
                Why::Refused,
            ),
            ("", Why::Refused),
        ] {
            assert_eq!(why(stderr), wanted, "{stderr}");
        }
    }

    #[test]
    fn the_line_that_tells_most_is_shown() {
        let ssh = "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.";
        assert_eq!(telling(ssh), "git@h: Permission denied (publickey).");
        assert_eq!(
            telling("warning: x\nfatal: Authentication failed for 'https://h/'\n"),
            "Authentication failed for 'https://h/'"
        );
        assert!(telling(&"x\u{1b}[2J".repeat(500)).len() <= LONGEST * 4);
    }
}

//! Patterns of `.dockerignore` and of what BuildKit asks for, as moby's patternmatcher reads them.
//! Pure.

use regex::Regex;
use thiserror::Error;

/// A pattern that cannot be read.
#[derive(Debug, Error)]
#[error("the pattern {0:?} cannot be read")]
pub(super) struct Malformed(String);

/// Patterns in their order; a later one overrules those before it.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// The pattern itself, if it has no wildcard.
    plain: Option<String>,
    /// `!pattern`: what matches is let through again.
    exception: bool,
}

impl Patterns {
    pub(super) fn new(
        patterns: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, Malformed> {
        let patterns = patterns
            .into_iter()
            .filter_map(|pattern| Pattern::new(pattern.as_ref()).transpose());
        Ok(Self(patterns.collect::<Result<_, _>>()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path or one of the folders above it matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let all: Vec<_> = above.chain([path]).collect();
        let matched = |pattern: &Pattern| all.iter().any(|path| pattern.regex.is_match(path));

        self.0.iter().fold(false, |before, pattern| {
            if before == pattern.exception && matched(pattern) {
                !before
            } else {
                before
            }
        })
    }

    /// Whether something below a folder may match although the folder does not.
    pub(super) fn may_match_below(&self, folder: &str) -> bool {
        self.0
            .iter()
            .filter(|pattern| !pattern.exception)
            .any(|pattern| pattern.reaches(folder))
    }

    /// Whether something below a folder that matches may be let through again.
    pub(super) fn may_except_below(&self, folder: &str) -> bool {
        self.0
            .iter()
            .filter(|pattern| pattern.exception)
            .any(|pattern| pattern.reaches(folder))
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Option<Self>, Malformed> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }

        let (exception, pattern) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let cleaned = clean(pattern);
        let regex = Regex::new(&expression(&cleaned)).map_err(|_error| Malformed(text.into()))?;
        let plain = (!cleaned.contains(['*', '?', '[', '\\'])).then_some(cleaned);

        Ok(Some(Self {
            regex,
            plain,
            exception,
        }))
    }

    /// Whether it may match below a folder.
    fn reaches(&self, folder: &str) -> bool {
        let below = |plain: &String| {
            plain
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.plain.as_ref().is_none_or(below)
    }
}

/// A path without empty parts, `.` and `..`; nothing is above the root.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();

    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }

    parts.join("/")
}

fn expression(pattern: &str) -> String {
    let mut regex = String::from("^(?s:");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                regex.push_str(if chars.peek().is_none() {
                    ".*"
                } else {
                    "(.*/)?"
                });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' | ']' | '^' | '-' => regex.push(c),
            '\\' => {
                let next = chars.next().unwrap_or('\\');
                regex.push_str(&regex::escape(&next.to_string()));
            }
            other => regex.push_str(&regex::escape(&other.to_string())),
        }
    }

    regex + ")$"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(patterns: &[&str], path: &str) -> bool {
        Patterns::new(patterns).unwrap().matches(path)
    }

    #[test]
    fn patterns_match_as_docker_has_them() {
        for (pattern, path) in [
            ("node_modules", "node_modules"),
            ("node_modules", "node_modules/a/b.js"),
            ("*.md", "README.md"),
            ("**/*.md", "docs/a/x.md"),
            ("**/*.md", "x.md"),
            ("docs/**", "docs/a/b"),
            ("/a/b/", "a/b"),
            ("./a/../b", "b"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            (r"a\*", "a*"),
            ("a.b", "a.b"),
        ] {
            assert!(matches(&[pattern], path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*.md", "docs/x.md"),
            ("a?c", "a/c"),
            ("a.b", "axb"),
            ("node_modules", "x/node_modules"),
            (r"a\*", "ab"),
        ] {
            assert!(!matches(&[pattern], path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_later_exception_lets_through_again() {
        let ignore = ["*", "!src", "src/*.tmp"];
        assert!(matches(&ignore, "README.md") && matches(&ignore, "src/x.tmp"));
        assert!(!matches(&ignore, "src/main.rs"));
        let patterns = Patterns::new(ignore).unwrap();
        assert!(
            patterns.may_except_below("x") == patterns.may_except_below("y")
                && !patterns.may_except_below("x")
        );
        assert!(
            Patterns::new(["a", "!a/b/c"])
                .unwrap()
                .may_except_below("a/b")
        );
    }

    #[test]
    fn folders_that_nothing_wanted_is_in_are_known() {
        let wanted = Patterns::new(["a/b/c"]).unwrap();
        assert!(
            wanted.may_match_below("a")
                && wanted.may_match_below("a/b")
                && !wanted.may_match_below("x")
        );
        assert!(Patterns::new(["a/*"]).unwrap().may_match_below("x"));
    }
}

//! What a ref of a Build means at a remote. Pure.

/// The remote's own branch.
const HEAD: &str = "HEAD";

/// Whether it is a commit already.
#[must_use]
pub fn is_commit(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64)
        && reference
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether it looks as if a commit was meant, shortened or in capitals: servers know neither.
pub(super) fn is_like_a_commit(reference: &str) -> bool {
    let is_hexadecimal = reference.bytes().all(|b| b.is_ascii_hexdigit());
    (7..=64).contains(&reference.len()) && is_hexadecimal && !is_commit(reference)
}

/// What the remote is asked for, the best first. A branch goes before a tag of the same name, as
/// `git clone --branch` has it.
pub(super) fn candidates(reference: Option<&str>) -> Vec<String> {
    match reference {
        None | Some(HEAD) => vec![HEAD.into()],
        Some(full) if full.starts_with("refs/") => vec![format!("{full}^{{}}"), full.into()],
        Some(short) => {
            let tag = format!("refs/tags/{short}");
            vec![format!("refs/heads/{short}"), format!("{tag}^{{}}"), tag]
        }
    }
}

/// The commit of the best candidate in the answer of `git ls-remote`. An annotated tag's commit
/// stands at `<tag>^{}`.
pub(super) fn pick(candidates: &[String], answer: &str) -> Option<String> {
    let listed: Vec<_> = answer
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let commit = |wanted: &String| {
        listed
            .iter()
            .find(|(_, name)| name == wanted)
            .map(|(commit, _)| *commit)
    };

    candidates
        .iter()
        .find_map(commit)
        .filter(|commit| is_commit(commit))
        .map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn picked(reference: Option<&str>, answer: &str) -> Option<String> {
        pick(&candidates(reference), answer)
    }

    #[test]
    fn a_branch_goes_before_a_tag_and_an_annotated_tag_is_its_commit() {
        let both = format!("{A}\trefs/tags/x\n{B}\trefs/heads/x\n");
        assert_eq!(picked(Some("x"), &both).as_deref(), Some(B));
        let annotated = format!("{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n");
        assert_eq!(picked(Some("v1"), &annotated).as_deref(), Some(B));
        assert_eq!(picked(Some("refs/tags/v1"), &annotated).as_deref(), Some(B));
    }

    #[test]
    fn a_commit_that_is_shortened_or_in_capitals_is_none_and_looks_like_one() {
        for meant in ["4f2a91c", "4F2A91C0D3E84F2A91C0D3E84F2A91C0D3E84F2A"] {
            assert!(!is_commit(meant) && is_like_a_commit(meant), "{meant}");
        }
        for branch in ["main", "feedbac", "release-1", "abc"] {
            assert_eq!(is_like_a_commit(branch), branch == "feedbac", "{branch}");
        }
    }

    #[test]
    fn a_pull_request_and_the_remotes_head_are_found() {
        assert_eq!(
            picked(
                Some("refs/pull/7/head"),
                &format!("{A}\trefs/pull/7/head\n")
            )
            .as_deref(),
            Some(A)
        );
        assert_eq!(picked(None, &format!("{A}\tHEAD\n")).as_deref(), Some(A));
    }

    #[test]
    fn a_branch_whose_name_only_ends_like_it_is_another() {
        assert_eq!(
            picked(Some("x"), &format!("{A}\trefs/heads/feature/x\n")),
            None
        );
        assert_eq!(picked(Some("x"), ""), None);
    }

    #[test]
    fn only_whole_commits_are_commits() {
        assert!(is_commit(A) && is_commit(&"0".repeat(64)));
        assert!(!is_commit(&A[1..]) && !is_commit(&"A".repeat(40)) && !is_commit("main"));
    }
}

//! What a mirror's objects say of a commit, read without writing any of its files.
//!
//! `git cat-file` answers several questions in one process (git-cat-file(1), "BATCH OUTPUT"). A
//! library would do it without a process, but a second implementation of git's object store beside
//! the git that fetches is more than these few reads are worth.

use super::Error;

/// The largest file that is read: what BuildKit's frontend takes as a Dockerfile at most.
const MAX_FILE: usize = 2 * 1024 * 1024;

/// The most bytes of a commit object and of a file's answer, headers included.
pub(super) const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// The most characters of a subject.
const MAX_SUBJECT: usize = 200;

/// A commit and one of its folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// The first line of its message.
    pub(super) subject: String,
    /// The tree of the folder, or None if the commit has no such folder.
    pub(super) tree: Option<String>,
}

/// A file as it stands in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Its content. A link inside the tree was followed.
    Content(Vec<u8>),
    /// There is none, or it is a folder.
    Missing,
    /// A link leads out of the tree, or in a circle.
    Outside,
}

/// Questions for `git cat-file --batch-command` whose answer [`commit`] reads.
pub(super) fn commit_questions(commit: &str, folder: &str) -> String {
    let tree = match folder {
        "." => format!("{commit}^{{tree}}"),
        folder => format!("{commit}:{folder}"),
    };
    format!("contents {commit}\ninfo {tree}\n")
}

/// Reads the answer to [`commit_questions`].
pub(super) fn commit(answer: &[u8]) -> Result<Commit, Error> {
    let (header, rest) = line(answer)?;
    let [_id, "commit", size] = fields(header)[..] else {
        return Err(unexpected(header));
    };

    let (content, rest) = split(rest, size)?;
    let content = String::from_utf8_lossy(content);

    // Headers, an empty line, the message (gitformat-commit).
    let message = content
        .split_once("\n\n")
        .map_or("", |(_, message)| message);
    let subject = message
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_SUBJECT)
        .collect();

    // A link to a folder is a blob.
    let (about, _) = line(rest)?;
    let tree = match fields(about)[..] {
        [id, "tree", _size] => Some(id.to_owned()),
        _ => None,
    };

    Ok(Commit { subject, tree })
}

/// The question for `git cat-file --batch --follow-symlinks` whose answer [`file`] reads.
pub(super) fn file_question(tree: &str, path: &str) -> String {
    format!("{tree}:{path}\n")
}

/// Reads the answer to [`file_question`].
pub(super) fn file(answer: &[u8]) -> Result<File, Error> {
    let (header, rest) = line(answer)?;

    match fields(header)[..] {
        [_id, "blob", size] => {
            if size.parse::<usize>().is_ok_and(|size| size > MAX_FILE) {
                return Err(Error::Limit(format!(
                    "the Dockerfile has {size} bytes; {MAX_FILE} are allowed"
                )));
            }
            split(rest, size).map(|(content, _)| File::Content(content.to_vec()))
        }
        ["symlink" | "loop", _size] => Ok(File::Outside),
        _ => Ok(File::Missing),
    }
}

/// The first line and what follows it.
fn line(answer: &[u8]) -> Result<(&str, &[u8]), Error> {
    let end = answer.iter().position(|byte| *byte == b'\n');
    let (line, rest) = end
        .and_then(|end| answer.split_at_checked(end))
        .ok_or_else(|| unexpected("an answer without a line"))?;
    let line =
        std::str::from_utf8(line).map_err(|_error| unexpected("an answer that is no text"))?;

    Ok((line, rest.get(1..).unwrap_or_default()))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The content of `size` bytes and what follows its line feed.
fn split<'a>(rest: &'a [u8], size: &str) -> Result<(&'a [u8], &'a [u8]), Error> {
    let found = size
        .parse()
        .ok()
        .and_then(|size| rest.split_at_checked(size))
        .ok_or_else(|| Error::Limit(format!("an object of {size} bytes")))?;

    Ok((found.0, found.1.get(1..).unwrap_or_default()))
}

fn unexpected(answer: &str) -> Error {
    Error::Refused(format!("git cat-file answered {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn answered(about: &str) -> Commit {
        let object = "tree x\nauthor a\n\nFirst\tline\nSecond\n";
        let size = object.len();
        commit(format!("{ID} commit {size}\n{object}\n{about}\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_commit_has_its_subject_and_the_tree_of_a_folder() {
        let found = answered(&format!("{ID} tree 33"));
        assert_eq!(found.subject, "Firstline");
        assert_eq!(found.tree.as_deref(), Some(ID));
    }

    #[test]
    fn what_is_no_folder_has_no_tree() {
        for about in [&format!("{ID} blob 3"), "x:y missing", "x:a b missing"] {
            assert_eq!(answered(about).tree, None, "{about}");
        }
    }

    #[test]
    fn a_commit_without_a_message_has_an_empty_subject() {
        let found = commit(format!("{ID} commit 7\ntree x\n\nx missing\n").as_bytes()).unwrap();
        assert_eq!(found.subject, "");
    }

    #[test]
    fn a_file_is_read_byte_by_byte() {
        let answer = [format!("{ID} blob 4\n").as_bytes(), b"\xff\n\0x", b"\n"].concat();
        assert_eq!(file(&answer).unwrap(), File::Content(b"\xff\n\0x".to_vec()));
    }

    #[test]
    fn a_file_that_is_none_or_elsewhere_is_told_apart() {
        for (answer, wanted) in [
            (format!("{ID}:x missing\n"), File::Missing),
            (format!("{ID} tree 33\n"), File::Missing),
            ("dangling 5\nt:x/y\n".to_owned(), File::Missing),
            ("notdir 5\nt:x/y\n".to_owned(), File::Missing),
            ("loop 5\nt:x/y\n".to_owned(), File::Outside),
            ("symlink 3\n../\n".to_owned(), File::Outside),
        ] {
            assert_eq!(file(answer.as_bytes()).unwrap(), wanted, "{answer}");
        }
    }

    #[test]
    fn a_file_that_is_too_big_or_cut_is_an_error() {
        for answer in [format!("{ID} blob 2097153\n"), format!("{ID} blob 9\nabc")] {
            assert!(matches!(file(answer.as_bytes()), Err(Error::Limit(_))));
        }
    }
}

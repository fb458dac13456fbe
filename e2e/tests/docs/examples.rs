//! Fenced blocks of a page, and what their fences say.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lab::testing::layout;

const FENCE: &str = "```";

/// A fenced block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The first word behind the fence; empty if there is none.
    pub(crate) language: String,
    pub(crate) mark: String,
    /// The lines between the fences.
    pub(crate) text: String,
    /// The line of the opening fence, from 1.
    pub(crate) line: usize,
}

impl Block {
    pub(crate) fn is(&self, language: &str, mark: &str) -> bool {
        self.language == language && self.mark == mark
    }

    /// The file that the block is, as its first line says: `# shop.yaml`.
    pub(crate) fn file(&self) -> Option<&str> {
        let name = self.text.lines().next()?.strip_prefix("# ")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        (name.ends_with(".yaml") && name.chars().all(plain)).then_some(name)
    }
}

/// The blocks of a page, in their order.
pub(crate) fn blocks(page: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;

    for (index, line) in page.lines().enumerate() {
        match (line.strip_prefix(FENCE), &mut open) {
            (Some(info), None) => {
                let mut words = info.split_whitespace().map(ToOwned::to_owned);
                open = Some(Block {
                    language: words.next().unwrap_or_default(),
                    mark: words.next().unwrap_or_default(),
                    text: String::new(),
                    line: index + 1,
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }

    ensure!(open.is_none(), "a block is not closed: {open:?}");
    Ok(blocks)
}

/// What a block's language and mark may be.
const MARKS: [(&str, &str); 6] = [
    ("yaml", "example"),
    ("yaml", "values"),
    ("yaml", "quickstart"),
    ("sh", "example"),
    ("sh", "quickstart"),
    ("sh", "shown"),
];

/// How lines begin that somebody would type.
const PROGRAMS: [&str; 6] = ["cargo ", "docker ", "e2e/", "helm ", "kind ", "kubectl "];

/// Pages outside of `docs` with blocks for a shell.
const OTHERS: [&str; 3] = ["CONTRIBUTING.md", "README.md", "charts/sequencer/README.md"];

/// The README and other pages with shell, and every page below `docs`.
pub(crate) fn pages(repository: &Path) -> Result<Vec<PathBuf>> {
    let folder = repository.join("docs");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut pages: Vec<_> = OTHERS.iter().map(|page| repository.join(page)).collect();

    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }

    pages.sort();
    ensure!(
        pages.len() > OTHERS.len(),
        "{} has no pages",
        folder.display()
    );
    Ok(pages)
}

/// Reads a page and returns its blocks.
pub(crate) fn read(page: &Path) -> Result<Vec<Block>> {
    let text =
        std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    blocks(&text).with_context(|| format!("in {}", page.display()))
}

#[test]
fn a_fence_says_the_language_and_what_is_done_with_the_block() -> Result<()> {
    let page = "text\n```yaml example\n# a-b.yaml\nkind: A\n```\n```\n$ shown\n```\n";
    let found = blocks(page)?;
    assert_eq!(found.len(), 2);
    assert!(found[0].is("yaml", "example"));
    assert_eq!((found[0].line, found[0].file()), (2, Some("a-b.yaml")));
    assert!(found[1].is("", ""));
    assert_eq!(found[1].text, "$ shown\n");

    assert!(blocks("```sh\nnever closed\n").is_err());
    Ok(())
}

#[test]
fn every_block_of_shell_or_yaml_says_what_is_done_with_it() -> Result<()> {
    for page in pages(&layout()?.repository)? {
        for block in read(&page)? {
            let marked = MARKS
                .iter()
                .any(|(language, mark)| block.is(language, mark));
            let free = !["sh", "yaml"].contains(&block.language.as_str());
            assert!(
                marked || (free && block.mark.is_empty()),
                "{}:{}",
                page.display(),
                block.line
            );
        }
    }

    Ok(())
}

#[test]
fn what_is_typed_is_marked_as_shell() -> Result<()> {
    for page in pages(&layout()?.repository)? {
        let output = read(&page)?
            .into_iter()
            .filter(|block| block.language.is_empty());
        for block in output {
            let typed = |line: &str| PROGRAMS.iter().any(|program| line.starts_with(program));
            assert!(
                !block.text.lines().any(typed),
                "{}:{}",
                page.display(),
                block.line
            );
        }
    }

    Ok(())
}

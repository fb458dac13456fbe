//! Pages of the repository as their readers see them: headings, tables, links and code spans. What
//! is between fences is an example and no text.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A page.
pub(super) struct Page {
    /// The file, below the root.
    pub(super) path: String,
    /// Its lines outside of fences.
    lines: Vec<String>,
}

/// A table under a heading.
pub(super) struct Table {
    /// The last heading of the second level before it.
    pub(super) section: String,
    /// The cells of its first row.
    pub(super) header: Vec<String>,
    /// Those of the others.
    pub(super) rows: Vec<Vec<String>>,
}

impl Page {
    pub(super) fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| {
            panic!("{path}: {error}");
        });
        let mut fenced = false;
        let is_text = |line: &&str| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fence && !fenced
        };

        Self {
            path: path.into(),
            lines: text.lines().filter(is_text).map(Into::into).collect(),
        }
    }

    /// Every page of `docs`.
    pub(super) fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(root().join("docs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut pages: Vec<_> = names
            .filter(|name| name.ends_with(".md"))
            .map(|name| format!("docs/{name}"))
            .collect();
        pages.sort();
        assert!(!pages.is_empty());
        pages.iter().map(|path| Self::read(path)).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(super) fn anchors(&self) -> Vec<String> {
        self.headings().map(|(_, title)| anchor(title)).collect()
    }

    /// The headings with their levels.
    fn headings(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().filter_map(|line| heading(line))
    }

    /// The targets of its links.
    pub(super) fn links(&self) -> Vec<&str> {
        let lines = self.lines.iter();
        lines
            .flat_map(|line| line.split("](").skip(1))
            .filter_map(|rest| rest.split(')').next())
            .collect()
    }

    /// The rest of the line that begins so.
    pub(super) fn line(&self, begin: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(begin))
    }

    /// Code spans with a value in parentheses behind them: `periods.resync` (60 s).
    pub(super) fn valued(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();

        for line in &self.lines {
            let parts: Vec<_> = line.split('`').collect();
            let pairs = parts.iter().zip(parts.iter().skip(1)).skip(1).step_by(2);
            found.extend(pairs.filter_map(|(span, rest)| {
                let (value, _) = rest.strip_prefix(" (")?.split_once(')')?;
                Some((*span, value))
            }));
        }

        found
    }

    /// What stands between backticks.
    pub(super) fn spans(&self) -> Vec<&str> {
        self.lines.iter().flat_map(|line| spans(line)).collect()
    }

    pub(super) fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = Vec::new();
        let mut section = "";
        let mut inside = false;

        for line in &self.lines {
            if let Some((2, title)) = heading(line) {
                section = title;
            }

            let Some(cells) = cells(line) else {
                inside = false;
                continue;
            };

            match tables.last_mut().filter(|_| inside) {
                Some(table) => table.rows.push(cells),
                None => tables.push(Table {
                    section: section.into(),
                    header: cells,
                    rows: Vec::new(),
                }),
            }

            inside = true;
        }

        tables
    }
}

impl Table {
    /// The code spans in the column of this name.
    pub(super) fn column(&self, name: &str) -> Vec<&str> {
        let cells = self.rows.iter().filter_map(|row| self.cell(row, name));
        cells.flat_map(spans).collect()
    }

    /// A row's cell in the column of this name.
    pub(super) fn cell<'a>(&self, row: &'a [String], name: &str) -> Option<&'a str> {
        let at = self.header.iter().position(|cell| cell == name)?;
        row.get(at).map(String::as_str)
    }
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    title
        .strip_prefix(' ')
        .filter(|_| level > 0)
        .map(|title| (level, title))
}

fn anchor(title: &str) -> String {
    let kept = title
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

/// The cells of a row; none for other lines and for the rule below a header.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<_> = row.split('|').map(|cell| cell.trim().into()).collect();
    Some(cells)
}

pub(super) fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn headings_tables_and_spans_are_read_as_they_are_written() {
    assert_eq!(heading("### A `b` c"), Some((3, "A `b` c")));
    assert_eq!(heading("#no"), None);
    assert_eq!(
        anchor("A host, `dns`-name that's taken"),
        "a-host-dns-name-thats-taken"
    );
    assert_eq!(cells("| `a` | b |"), Some(vec!["`a`".into(), "b".into()]));
    assert_eq!(spans("a `b` c `d`").collect::<Vec<_>>(), ["b", "d"]);
}

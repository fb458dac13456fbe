//! What programs print, as people read it in a status.

use anstream::adapter::strip_str;

/// Returns a line without what only a terminal understands: escape sequences, such as colours
/// (ECMA-48, 5.4), and control characters but the tab.
#[must_use]
pub fn plain(line: &str) -> String {
    let stripped = strip_str(line).to_string();
    let shown = |c: &char| !c.is_control() || *c == '\t';
    stripped.chars().filter(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_control_characters_go_and_words_stay() {
        for (line, shown) in [
            ("plain\tand ünïcödé", "plain\tand ünïcödé"),
            ("\u{1b}[31mred\u{1b}[0m [31m", "red [31m"),
            ("\u{1b}[1;38;5;196mbold\u{1b}[K", "bold"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("a\u{0}b\u{8}c\r", "abc"),
        ] {
            assert_eq!(plain(line), shown, "{line:?}");
        }
    }
}

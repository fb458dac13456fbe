//! The examples of the documentation, executed: `README.md` and `docs/*.md`.
//!
//! The first word behind a fence is the language, the second says what is done with the block:
//!
//! | fence | does |
//! |---|---|
//! | `yaml example` | a server-side dry run takes its objects; `# NAME.yaml` in its first line makes it a file of the page's shell |
//! | `yaml values` | the chart renders with these values |
//! | `sh example` | runs on the lab's cluster, after the page's blocks before it |
//!
//! Other blocks are shown, and not executed. The README's quickstart is a test of its own.

mod examples;
mod objects;
mod pages;
mod quickstart;
mod shell;

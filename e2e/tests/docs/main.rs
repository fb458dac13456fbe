//! The examples of the documentation, executed: `README.md`, `CONTRIBUTING.md`, the chart's page and
//! `docs/*.md`.
//!
//! The first word behind a fence is the language, the second says what is done with the block:
//!
//! | fence | does |
//! |---|---|
//! | `yaml example` | a server-side dry run takes its objects; `# NAME.yaml` in its first line makes it a file of the page's shell |
//! | `yaml values` | the chart renders with these values |
//! | `sh example` | runs on the lab's cluster, after the page's blocks before it |
//! | `sh quickstart`, `yaml quickstart` | what an empty cluster is led to a preview with, in a test of its own |
//! | `sh shown` | nothing: it wants what cannot run here, or takes away what other tests stand on |
//!
//! Blocks of another language, or of none, are shown: pictures and output.

mod examples;
mod objects;
mod pages;
mod quickstart;
mod shell;

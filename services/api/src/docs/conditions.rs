//! Conditions: every type is on the page of its kind and on that of conditions, with the reasons.

use std::collections::BTreeSet;

use super::page::Page;
use crate::code::Code;
use crate::condition::{ConditionType, Expected, Reason, Status};

/// The page that explains types and reasons.
const PAGE: &str = "docs/conditions.md";

/// The code spans in the columns of this name.
fn column(page: &Page, name: &str) -> BTreeSet<String> {
    let tables = page.tables();
    let spans = tables.iter().flat_map(|table| table.column(name));
    spans.map(Into::into).collect()
}

#[test]
fn every_condition_type_is_explained_and_on_the_page_of_a_kind() {
    let all: BTreeSet<_> = ConditionType::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(column(&Page::read(PAGE), "type"), all);

    let kinds = ["workspace", "component", "build", "dnsrecord"];
    let named: BTreeSet<_> = kinds
        .iter()
        .flat_map(|kind| column(&Page::read(&format!("docs/{kind}.md")), "condition"))
        .collect();
    assert_eq!(named, all);
}

#[test]
fn every_reason_that_is_no_codes_is_explained() {
    let rule = Expected::rule();
    let words: BTreeSet<_> = rule.split('\'').skip(1).step_by(2).collect();
    let codes = Code::ALL.iter().map(|code| code.reason());
    let others: BTreeSet<_> = Status::ALL
        .iter()
        .map(|status| status.as_str())
        .chain(["Error"])
        .chain(codes)
        .collect();

    let plain: BTreeSet<String> = words.difference(&others).map(ToString::to_string).collect();
    assert!(plain.contains(Reason::Healthy.as_str()));
    let explained = column(&Page::read(PAGE), "reason");
    assert_eq!(explained, plain);
}

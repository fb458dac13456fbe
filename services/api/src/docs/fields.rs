//! Fields of kinds, values of the chart, conditions: what is named exists, and what exists is named.

use std::collections::BTreeSet;

use serde_json::Value;

use super::page::{Page, root};
use crate::crd::definitions;

/// Code spans with dots that are no fields.
const NO_FIELDS: [&str; 5] = [".com", ".conf", ".crt", ".test", ".yaml"];

/// Fields whose schema is Kubernetes' own, or another kind's.
const OTHERS: [&str; 5] = [
    "components",
    "template",
    "build",
    "strategy",
    "volumeClaimTemplates",
];

/// A kind with its schema.
pub(super) struct Kind {
    name: String,
    schema: Value,
}

impl Kind {
    pub(super) fn all() -> Vec<Self> {
        let kinds = definitions().unwrap().into_iter().map(|definition| Self {
            name: definition.value["spec"]["names"]["kind"]
                .as_str()
                .unwrap()
                .into(),
            schema: definition.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
        });
        kinds.collect()
    }

    pub(super) fn page(&self) -> Page {
        Page::read(&format!("docs/{}.md", self.name.to_lowercase()))
    }

    pub(super) fn part(&self, name: &str) -> &Value {
        &self.schema["properties"][name]
    }
}

/// The schema at `a.b[].c`.
pub(super) fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |schema, part| {
        let (name, in_list) = part
            .strip_suffix("[]")
            .map_or((part, false), |name| (name, true));
        let found = schema.get("properties")?.get(name)?;

        if in_list {
            found.get("items")
        } else {
            Some(found)
        }
    })
}

/// Whether the path is somewhere in the schema, however deep.
fn is_within(schema: &Value, path: &str) -> bool {
    let inner = schema.get("properties").and_then(Value::as_object);
    at(schema, path).is_some()
        || inner.is_some_and(|inner| inner.values().any(|inner| is_within(inner, path)))
        || schema
            .get("items")
            .is_some_and(|items| is_within(items, path))
}

/// The names of all fields, but for those of other schemas.
fn names<'a>(schema: &'a Value, found: &mut BTreeSet<&'a str>) {
    for (name, inner) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        found.insert(name);
        if !OTHERS.contains(&name.as_str()) {
            names(inner, found);
        }
    }
    if let Some(items) = schema.get("items") {
        names(items, found);
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The chart's values.
pub(super) fn values() -> Value {
    serde_yaml::from_str(&read("charts/sequencer/values.yaml")).unwrap()
}

fn is_value(values: &Value, path: &str) -> bool {
    path.split('.')
        .try_fold(values, |value, part| value.get(part))
        .is_some()
}

/// Whether a code span is a path of fields or values.
fn is_path(span: &str) -> bool {
    let name = |part: &str| {
        let plain = part.strip_suffix("[]").unwrap_or(part);
        let begins = plain.starts_with(|c: char| c.is_ascii_lowercase());
        begins && plain.chars().all(|c| c.is_ascii_alphanumeric())
    };
    span.contains('.')
        && span.split('.').all(name)
        && !NO_FIELDS.iter().any(|end| span.ends_with(end))
}

#[test]
fn the_page_of_a_kind_has_its_fields_and_no_others() {
    for kind in Kind::all() {
        let page = kind.page();
        for table in page.tables() {
            let part = if table.section == "Status" {
                "status"
            } else {
                "spec"
            };
            for path in table.column("field") {
                let found = at(kind.part(part), path);
                assert!(found.is_some(), "{}: {part}.{path}", page.path);
            }
        }

        let mut fields = BTreeSet::new();
        names(kind.part("spec"), &mut fields);

        let named: BTreeSet<_> = page
            .spans()
            .into_iter()
            .flat_map(|span| span.split(['.', '[', ':']))
            .collect();
        let missing: Vec<_> = fields.difference(&named).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", page.path);
    }
}

#[test]
fn the_page_of_a_kind_tells_what_kubectl_get_prints() {
    for definition in definitions().unwrap() {
        let spec = &definition.value["spec"];
        let page = Page::read(&format!(
            "docs/{}.md",
            spec["names"]["singular"].as_str().unwrap()
        ));
        let prints = format!(
            "`kubectl get {}` prints ",
            spec["names"]["shortNames"][0].as_str().unwrap()
        );
        let columns = page
            .line(&prints)
            .unwrap_or_else(|| panic!("{}: {prints}", page.path));
        let (narrow, wide) = columns.split_once("; `-o wide` adds ").unwrap();

        let columns = spec["versions"][0]["additionalPrinterColumns"]
            .as_array()
            .unwrap();
        let named = |wide: bool| {
            let columns = columns
                .iter()
                .filter(|column| column.get("priority").is_some() == wide);
            let names = columns.map(|column| column["name"].as_str().unwrap().to_uppercase());
            names.collect::<Vec<_>>()
        };
        let of = |text: &str| {
            words(text)
                .into_iter()
                .filter(|word| word != "NAME")
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (of(narrow), of(wide)),
            (named(false), named(true)),
            "{}",
            page.path
        );
    }
}

/// The words of a list: `A, B and C.`
fn words(list: &str) -> Vec<String> {
    let upper = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let words = list.split([' ', ',', '.']).filter(upper);
    words.map(Into::into).collect()
}

#[test]
fn every_value_of_the_chart_that_a_table_names_exists() {
    let (values, kinds) = (values(), Kind::all());
    let workspace = kinds[0].part("spec");
    let mut all = 0;
    for page in Page::all() {
        for table in page.tables() {
            let named = ["value", "chart value", "setting"].map(|column| table.column(column));
            for path in named.concat().into_iter().filter(|path| is_path(path)) {
                all += 1;
                let found = is_value(&values, path) || at(workspace, path).is_some();
                assert!(found, "{}: {path}", page.path);
            }
        }
    }

    assert!(all > 30, "only {all} values were found");
}

#[test]
fn every_path_in_the_text_is_a_field_or_a_value() {
    let (values, kinds) = (values(), Kind::all());
    let exists = |path: &str| {
        let field = kinds.iter().any(|kind| is_within(&kind.schema, path));
        field || path.starts_with("metadata.") || is_value(&values, path)
    };

    for page in Page::all() {
        let paths = page.spans().into_iter().filter(|span| is_path(span));
        let unknown: Vec<_> = paths.filter(|path| !exists(path)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", page.path);
    }
}

#[test]
fn the_fields_of_providers_and_pools_are_those_of_the_charts_schema() {
    let schema: Value = serde_json::from_str(&read("charts/sequencer/values.schema.json")).unwrap();
    let (provider, pool) = (
        &schema["definitions"]["provider"],
        &schema["definitions"]["pool"],
    );
    let rfc2136 = &provider["properties"]["rfc2136"];
    for (page, column, of) in [
        ("docs/providers.md", "field of a provider", provider),
        ("docs/providers.md", "field of `rfc2136`", rfc2136),
        ("docs/operations.md", "field of a pool", pool),
    ] {
        let page = Page::read(page);
        let named: BTreeSet<_> = page
            .tables()
            .iter()
            .flat_map(|table| {
                table
                    .column(column)
                    .into_iter()
                    .map(ToOwned::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        let known: BTreeSet<_> = of["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(named, known, "{}: {column}", page.path);
    }
}

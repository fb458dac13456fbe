//! Defaults and limits: the pages have those of the schemas and of the chart.

use serde_json::Value;

use super::fields::{Kind, at, values};
use super::page::{Page, Table, spans};

/// A field with what its row says of it.
struct Row<'a> {
    path: &'a str,
    default: &'a str,
    meaning: &'a str,
}

/// The fields of a table, each with its own default where the row has as many.
fn rows(table: &Table) -> Vec<Row<'_>> {
    let mut rows = Vec::new();

    for row in &table.rows {
        let cells = ["field", "default", "meaning"].map(|name| table.cell(row, name));
        let [Some(fields), Some(default), Some(meaning)] = cells else {
            continue;
        };

        let paths: Vec<_> = spans(fields).collect();
        let defaults: Vec<_> = default.split(", ").collect();
        for (index, &path) in paths.iter().enumerate() {
            let own = defaults.len() == paths.len();
            rows.push(Row {
                path,
                default: if own { defaults[index] } else { default },
                meaning,
            });
        }
    }

    rows
}

/// Calls this with every field of a kind's spec that a page tells of, its schema and its place.
fn each_field(mut check: impl FnMut(&Value, &Row<'_>, &str)) {
    for kind in Kind::all() {
        let (page, spec) = (kind.page(), kind.part("spec"));
        for table in page
            .tables()
            .iter()
            .filter(|table| table.section != "Status")
        {
            for row in rows(table) {
                let place = format!("{}: {}", page.path, row.path);
                check(spec, &row, &place);
            }
        }
    }
}

/// The schema of what holds a field, and the field's name there.
fn parent<'a, 'b>(spec: &'a Value, path: &'b str) -> (&'a Value, &'b str) {
    match path.rsplit_once('.') {
        Some((above, name)) => (at(spec, above).unwrap(), name),
        None => (spec, path),
    }
}

/// A value as a page has it.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(is) => Some(is.to_string()),
        // Limits are floating point numbers, and are written without a point.
        Value::Number(number) => number.as_f64().map(|number| number.to_string()),
        _ => None,
    }
}

/// Whether a cell is one value and no words.
fn is_value(cell: &str) -> bool {
    let inner = cell
        .strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'));
    let is_span = inner.is_some_and(|inner| !inner.contains(['`', '<']));
    cell.parse::<f64>().is_ok() || is_span
}

#[test]
fn the_page_of_a_kind_has_the_defaults_of_its_schema() {
    let mut compared = 0;

    each_field(|spec, row, place| {
        let (parent, name) = parent(spec, row.path);
        let said = row.default.trim_matches('`');

        match scalar(&at(spec, row.path).unwrap()["default"]) {
            Some(default) => {
                // Where the operator may choose, the page names his value.
                let is_said = said == default || said.starts_with("chart value ");
                assert!(is_said, "{place}: {said}, and not {default}");
                compared += 1;
            }
            None => {
                // As large as another field of the same object.
                let is_sibling = parent["properties"].get(said).is_some();
                assert!(!is_value(row.default) || is_sibling, "{place}: {said}");
            }
        }

        let required = parent["required"].as_array().into_iter().flatten();
        let is_required = required.into_iter().any(|known| known == name);
        // What is required of something that is not may have an empty cell.
        let is_said = said == "required" || (is_required && said.is_empty());
        assert_eq!(is_said, is_required, "{place}: {said}");
    });

    assert!(compared > 20, "only {compared} defaults were found");
}

#[test]
fn the_page_of_a_kind_has_the_limits_of_its_schema() {
    let mut compared = 0;

    each_field(|spec, row, place| {
        let numbers: Vec<_> = row.meaning.split(|c: char| !c.is_ascii_digit()).collect();
        let field = at(spec, row.path).unwrap();

        for limit in ["maxItems", "maxProperties", "maximum", "minimum"] {
            if let Some(number) = scalar(&field[limit]) {
                let is_said = numbers.contains(&number.as_str());
                assert!(is_said, "{place}: {limit} {number}: {}", row.meaning);
                compared += 1;
            }
        }
    });

    assert!(compared > 20, "only {compared} limits were found");
}

/// A value of the chart, if it is one and no list or object.
fn value_at(values: &Value, path: &str) -> Option<String> {
    let found = path
        .split('.')
        .try_fold(values, |value, part| value.get(part));
    found.and_then(scalar)
}

#[test]
fn the_limits_that_an_operator_sets_have_the_charts_defaults() {
    let (page, values) = (Page::read("docs/retries-and-limits.md"), values());
    let mut compared = 0;

    for table in page.tables() {
        for row in &table.rows {
            let cells = ["default", "chart value"].map(|name| table.cell(row, name));
            let [Some(default), Some(path)] = cells else {
                continue;
            };

            let value = path
                .strip_prefix('`')
                .and_then(|path| path.strip_suffix('`'));
            if let Some(value) = value.and_then(|path| value_at(&values, path)) {
                assert_eq!(default.replace(' ', ""), value, "{path}");
                compared += 1;
            }
        }
    }

    assert!(compared >= 5, "only {compared} defaults were found");
}

#[test]
fn values_of_the_chart_in_the_text_are_its_defaults() {
    let values = values();
    let mut compared = 0;

    for page in Page::all() {
        for (path, said) in page.valued() {
            let is_number = said.starts_with(|c: char| c.is_ascii_digit());
            if let Some(value) = value_at(&values, path).filter(|_| is_number) {
                let said = said.replace(' ', "").replace("min", "m");
                assert_eq!(said, value, "{}: {path}", page.path);
                compared += 1;
            }
        }
    }

    assert!(compared >= 3, "only {compared} values were found");
}

//! Which records of the zone speak for a name: the name itself, else the closest wildcard.
use crate::record::Record;

#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// These records speak for the name.
    Records(Vec<&'a Record>),
    /// The name exists because something stands below it, yet it has no record.
    Empty,
    Nothing,
}

/// Looks up a lower-case name without its trailing dot, wildcards as in RFC 4592.
pub(crate) fn lookup<'a>(records: &'a [Record], zone: &str, name: &str) -> Found<'a> {
    let exact = at(records, name);
    if !exact.is_empty() {
        return Found::Records(exact);
    }

    if name == zone || exists(records, name) {
        return Found::Empty;
    }

    let mut parent = name;
    while let Some((_, above)) = parent.split_once('.') {
        let wildcards = at(records, &format!("*.{above}"));
        if !wildcards.is_empty() {
            return Found::Records(wildcards);
        }

        if above == zone || exists(records, above) {
            break;
        }

        parent = above;
    }

    Found::Nothing
}

fn at<'a>(records: &'a [Record], name: &str) -> Vec<&'a Record> {
    records
        .iter()
        .filter(|record| record.content.name == name)
        .collect()
}

fn exists(records: &[Record], name: &str) -> bool {
    let below = format!(".{name}");
    records
        .iter()
        .any(|record| record.content.name == name || record.content.name.ends_with(&below))
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::record::Content;

    pub(crate) const ZONE: &str = "yourdomain.com";

    pub(crate) fn record(kind: &str, name: &str, content: &str, proxied: bool) -> Record {
        let body = json!({"type": kind, "name": name, "content": content, "proxied": proxied});
        let now = Timestamp::UNIX_EPOCH;
        let content = Content::read(body, ZONE).unwrap();

        Record {
            id: name.to_owned(),
            content,
            created_on: now,
            modified_on: now,
            comment_modified_on: None,
        }
    }

    fn ids(records: &[Record], name: &str) -> String {
        match lookup(records, ZONE, name) {
            Found::Records(found) => found.iter().map(|record| record.id.as_str()).collect(),
            Found::Empty => "empty".into(),
            Found::Nothing => "nothing".into(),
        }
    }

    #[test]
    fn the_closest_name_speaks() {
        let records = [
            record("A", "*", "192.0.2.1", false),
            record("A", "*.pr-1", "192.0.2.2", false),
            record("A", "api.pr-1", "192.0.2.3", false),
            record("TXT", "deep.under.pr-2", "x", false),
        ];
        assert_eq!(ids(&records, "api.pr-1.yourdomain.com"), "api.pr-1");
        assert_eq!(ids(&records, "web.pr-1.yourdomain.com"), "*.pr-1");
        assert_eq!(ids(&records, "www.yourdomain.com"), "*");
        assert_eq!(ids(&records, "a.b.yourdomain.com"), "*");
        assert_eq!(ids(&records, "under.pr-2.yourdomain.com"), "empty");
        assert_eq!(ids(&records, "other.pr-2.yourdomain.com"), "nothing");
        assert_eq!(ids(&records, "yourdomain.com"), "empty");
        assert_eq!(ids(&[], "www.yourdomain.com"), "nothing");
    }
}

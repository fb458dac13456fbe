//! The last lines of a container.

use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use sequencer_runtime::plain::plain;

use crate::readiness::LogOf;

const LINES: u8 = 20;

const LENGTH: usize = 200;

/// The most bytes that are read for them. The runtime keeps a line in pieces of 16 KiB, and each
/// piece counts as one of the last lines.
const BYTES: i64 = 512 * 1024;

/// The last lines, without the values of secrets; none if they are not to be had.
pub(crate) async fn tail(
    client: &Client,
    namespace: &str,
    of: &LogOf,
    secrets: &[String],
) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = LogParams {
        container: Some(of.container.clone()),
        previous: of.previous,
        tail_lines: Some(LINES.into()),
        limit_bytes: Some(BYTES),
        ..LogParams::default()
    };

    let text = api.logs(&of.pod, &params).await.unwrap_or_default();
    lines(&text, secrets)
}

/// Lines as status has them.
fn lines(text: &str, secrets: &[String]) -> Vec<String> {
    let masked = secrets.iter().filter(|secret| secret.len() >= 4);
    let masked = masked.fold(text.to_owned(), |text, secret| {
        text.replace(secret.as_str(), "***")
    });
    let clean = |line: &str| plain(line).chars().take(LENGTH).collect::<String>();

    let lines: Vec<_> = masked.lines().map(clean).collect();
    let skip = lines.len().saturating_sub(LINES.into());
    lines.into_iter().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_cut_cleaned_and_masked() {
        let text: String = (0..30)
            .map(|line| format!("\u{1b}[31mline {line} hunter22 {}\r\n", "x".repeat(300)))
            .collect();
        let lines = lines(&text, &["hunter22".into(), "x".into()]);

        assert_eq!(
            (lines.len(), lines[0].starts_with("line 10 *** xxx")),
            (20, true)
        );
        assert!(lines.iter().all(|line| line.chars().count() == 200));
    }
}

//! Lines of a log, packed into messages.

use sequencer_proto::Message as _;
use sequencer_proto::v1::{Line, Log};

/// A length and a tag before each line, and before its text.
const OVERHEAD: usize = 8;

/// The lines in as few messages of at most `most` bytes as possible, in their order.
pub(super) fn batches(lines: Vec<Line>, most: usize) -> Vec<Log> {
    let mut batches: Vec<Log> = Vec::new();
    let mut size = most;

    for mut line in lines {
        let room = most.saturating_sub(OVERHEAD + line.encoded_len() - line.text.len());
        line.text.truncate(line.text.floor_char_boundary(room));
        let length = line.encoded_len() + OVERHEAD;
        match batches.last_mut().filter(|_| size + length <= most) {
            Some(log) => {
                size += length;
                log.lines.push(line);
            }
            None => {
                size = length;
                batches.push(Log { lines: vec![line] });
            }
        }
    }

    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_line_goes_in_order_into_messages_that_fit(texts in prop::collection::vec("\\PC{0,300}", 0..40)) {
            let most = 256;
            let lines: Vec<_> =
                texts.iter().map(|text| Line { at_ms: i64::MAX, step: 7, stderr: true, text: text.clone() }).collect();
            let batches = batches(lines, most);
            let all: Vec<_> = batches.iter().flat_map(|log| &log.lines).collect();
            prop_assert_eq!(all.len(), texts.len());
            for (line, text) in all.iter().zip(&texts) {
                prop_assert!(text.starts_with(&line.text));
                prop_assert!(line.text.len() == text.len() || line.text.len() > 200);
            }

            for log in &batches {
                prop_assert!(log.encoded_len() <= most && !log.lines.is_empty());
            }
        }
    }
}

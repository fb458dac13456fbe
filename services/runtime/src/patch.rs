//! Operations of a JSON Patch (RFC 6902). A path is given by its names, which may hold any
//! character.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::Value;

pub use json_patch::{Patch, PatchOperation as Operation};

/// Holds only if this is the value there.
pub fn test(path: &[&str], value: impl Into<Value>) -> Operation {
    Operation::Test(TestOperation {
        path: pointer(path),
        value: value.into(),
    })
}

/// Writes a value, whether or not there is one. `-` at the end appends to a list.
pub fn add(path: &[&str], value: impl Into<Value>) -> Operation {
    Operation::Add(AddOperation {
        path: pointer(path),
        value: value.into(),
    })
}

/// Writes a value over the one that is there.
pub fn replace(path: &[&str], value: impl Into<Value>) -> Operation {
    Operation::Replace(ReplaceOperation {
        path: pointer(path),
        value: value.into(),
    })
}

/// Takes away the value that is there.
#[must_use]
pub fn remove(path: &[&str]) -> Operation {
    Operation::Remove(RemoveOperation {
        path: pointer(path),
    })
}

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_with_a_slash_is_one_name() {
        let operation = remove(&["metadata", "annotations", "a.example/b~c"]);
        assert_eq!(
            serde_json::to_value(operation).unwrap(),
            json!({"op": "remove", "path": "/metadata/annotations/a.example~1b~0c"})
        );
    }
}

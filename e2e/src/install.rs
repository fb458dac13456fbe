//! What `up` brings onto the machine: Debian packages, programs built from Go modules, Python wheels. Everything is
//! pinned in `e2e/tools`, and what was built is kept in the cache under a key of its inputs.

pub mod debian;
pub mod go;
pub mod rust;
pub mod wheel;

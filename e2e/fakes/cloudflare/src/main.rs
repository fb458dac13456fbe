//! A stand-in for Cloudflare, for tests.
fn main() {}

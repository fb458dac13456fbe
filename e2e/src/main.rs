//! The throw-away cluster's command line.
fn main() {}

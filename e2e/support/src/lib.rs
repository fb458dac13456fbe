//! What unit tests and tests on the lab both ask: whether every argument has its variable, and who
//! may talk to whom by the NetworkPolicies that are there. It depends on nothing of the lab.

pub mod arguments;
pub mod pod_security;
pub mod policies;

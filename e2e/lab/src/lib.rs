//! A throw-away Kubernetes cluster on one machine, all of it real: control plane, two nodes,
//! registries, name server and git server, below one supervisor in namespaces of its own. Used by
//! the commands `e2e/up` and its siblings, and by tests.

pub mod alone;
pub mod audit;
pub mod cache;
pub mod cgroup;
pub mod checks;
pub mod cluster;
pub mod control;
pub mod cpu;
pub mod holder;
pub mod image;
pub mod install;
pub mod layout;
pub mod machine;
pub mod namespace;
pub mod network;
pub mod part;
pub mod parts;
pub mod pki;
pub mod process;
pub mod progress;
pub mod release;
pub mod sample;
pub mod secrets;
pub mod supervisor;
pub mod testing;
pub mod until;

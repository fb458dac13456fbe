//! How every service of Sequencer runs: settings, telemetry, health, shutdown, the bus and the
//! cluster. It knows no kind of object.
//!
//! ```no_run
//! use sequencer_proto::topics::Consumer;
//! use sequencer_runtime::bus::{Bus, Outcome};
//! use sequencer_runtime::{Runtime, args::Args};
//!
//! # async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
//! let mut rt = Runtime::start("deployer", &args).await?;
//! let bus = Bus::connect("deployer", &args, &rt.handles()).await?;
//! rt.handle(&bus, Consumer::deployer(), 16, |_delivery| async { Outcome::Done });
//! rt.run(&bus).await?;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

pub mod admin;
pub mod apply;
pub mod args;
pub mod bus;
pub mod cluster;
pub mod egress;
pub mod error;
mod handles;
pub mod hosts;
pub mod patch;
pub mod plain;
mod process;
pub mod readiness;
pub mod registry;
pub mod retry;
pub mod section;
pub mod shutdown;
pub mod status_writer;
pub mod telemetry;

pub use handles::Handles;
pub use process::{Ended, Runtime, StartError};

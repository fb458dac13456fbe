//! Compiles `sequencer/v1/*.proto` without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["command", "event", "log"].map(|name| format!("sequencer/v1/{name}.proto"));
    prost_build::Config::new().compile_fds(protox::compile(files, ["."])?)?;
    Ok(())
}

//! The settings of a service, as its command line has them.

use anyhow::{Context as _, Result, ensure};
use clap::Command;

/// Whether every argument can be set by a variable that is named after it. Panics where clap cannot
/// use the arguments.
///
/// # Errors
/// One has none, or another.
pub fn check(mut command: Command) -> Result<()> {
    command.build();
    command.clone().debug_assert();
    for argument in command
        .get_arguments()
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
    {
        let wanted = format!("SEQUENCER_{}", argument.get_id().as_str().to_uppercase());
        let variable = argument
            .get_env()
            .with_context(|| format!("{argument} has no variable"))?;
        ensure!(
            variable == wanted.as_str(),
            "{argument} has {}, not {wanted}",
            variable.display()
        );
    }

    Ok(())
}

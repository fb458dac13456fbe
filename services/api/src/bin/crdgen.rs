//! Writes the CustomResourceDefinitions into a folder: `crdgen charts/sequencer/files/crds`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: crdgen FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    for definition in sequencer_api::crd::definitions()? {
        std::fs::write(
            folder.join(definition.file),
            serde_yaml::to_string(&definition.value)?,
        )?;
    }

    Ok(())
}

//! bind9, authoritative for a zone that takes TSIG-signed updates only.

use std::os::unix::fs::chown;

use anyhow::{Context as _, Result};
use minijinja::context;
use nix::unistd::User;

use crate::layout::{Layout, NAME_SERVER, at, text, write_private};
use crate::part::{Part, Ready};
use crate::secrets::Secrets;

pub const ZONE: &str = "preview.test";
/// The TSIG key's name; HMAC-SHA256.
pub const KEY: &str = "seq";
/// The user that Debian's package makes.
const USER: &str = "bind";

/// The part. Its zone file is written once: later changes are the updates'.
///
/// # Errors
/// A file cannot be written.
pub fn part(layout: &Layout, secrets: &Secrets) -> Result<Part> {
    let data = layout.data("bind");
    std::fs::create_dir_all(&data)?;
    let zone = data.join(format!("{ZONE}.zone"));
    let address = NAME_SERVER.to_string();
    if !zone.exists() {
        std::fs::write(
            &zone,
            layout.render("zone", context! { zone => ZONE, address })?,
        )?;
    }
    let config = data.join("named.conf");
    let values = context! { data => text(&data), address, zone => ZONE, key_name => KEY, secret => secrets.tsig };
    write_private(&config, layout.render("named.conf", values)?)?;
    let user = User::from_name(USER)?
        .with_context(|| format!("there is no user {USER}: apt-get install bind9"))?;
    for path in [&data, &zone, &config] {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    // A copy under another path: Debian's AppArmor profile of /usr/sbin/named allows it Debian's
    // own folders only.
    let program = layout.bin("named");
    if std::fs::read("/usr/sbin/named")? != std::fs::read(&program).unwrap_or_default() {
        std::fs::copy("/usr/sbin/named", &program)?;
    }
    let args = [
        "-g".into(),
        "-4".into(),
        "-u".into(),
        USER.into(),
        "-c".into(),
        text(&config),
    ];
    Part::new(
        "name-server",
        program,
        args,
        Ready::Tcp(at(NAME_SERVER, 53)),
    )
    .reads([config])
}

//! The description's own scripts, and the removal of packages between them.
//!
//! `config.sh` runs after everything is laid out, then packages to be removed go, then `images.sh` runs.
//! Scripts find `/.profile` with the image's variables and have the same in their environment; they may use
//! the host's network, unless the build is offline. What a script prints is kept as an object.

use std::fs;
use std::path::Path;

use manifest::Object;
use stage::Result;

use super::guest::Guest;
use super::{files, part, removal};
use crate::job::{Image, Job};

const PROFILE: &str = "/.profile";
const DIR: &str = "/image";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Runs the scripts and removes packages.
///
/// # Errors
/// Exit code 1 with the script's last words and the digest of all it said.
pub fn run(guest: &Guest, job: &Job) -> Result<()> {
    let image = &job.image;
    let lent = lend_resolver(job)?;
    let online = guest.with_network();
    if let Some(script) = &image.config {
        part("config.sh", || {
            script_in_tree(&online, image, "config.sh", script)
        })?;
    }
    removal::uninstall(guest, &image.uninstall)?;
    removal::delete(guest, &image.delete)?;
    if let Some(script) = &image.images {
        part("images.sh", || {
            script_in_tree(&online, image, "images.sh", script)
        })?;
    }
    // A script may have put its own there, a file or a link: then it stays.
    let is_file = fs::symlink_metadata(RESOLV_CONF).is_ok_and(|m| m.is_file());
    if is_file && lent.is_some() && fs::read_to_string(RESOLV_CONF).ok().as_ref() == lent {
        files::remove(RESOLV_CONF)?;
    }
    Ok(())
}

/// Lends the host's resolv.conf where the tree has none of its own; gives the text that was lent.
fn lend_resolver(job: &Job) -> Result<Option<&String>> {
    match &job.resolv_conf {
        Some(text) if fs::symlink_metadata(RESOLV_CONF).is_err() => {
            files::write(RESOLV_CONF, text, 0o644)?;
            Ok(Some(text))
        }
        _ => Ok(None),
    }
}

fn script_in_tree(guest: &Guest, image: &Image, name: &str, script: &Object) -> Result<()> {
    let text = guest.store().get(script)?;
    let path = format!("{DIR}/{name}");
    files::write(&path, &text, 0o755)?;
    files::write(PROFILE, profile(&image.profile), 0o644)?;
    // Scripts without an interpreter line are bash scripts, as the peer has it.
    let finished = match text.starts_with(b"#!") {
        true => guest.run(&path, &[], &image.profile)?,
        false => guest.run("bash", &[&path], &image.profile)?,
    };
    if !finished.status.success() {
        return Err(finished.error(name));
    }
    finished.whole(name)?;
    files::remove(PROFILE)?;
    files::remove(&path)?;
    // A script may have left something there; then it stays.
    let _ = fs::remove_dir(Path::new(DIR));
    Ok(())
}

/// `name='value'` lines that a shell reads.
fn profile(variables: &[(String, String)]) -> String {
    let line =
        |(name, value): &(String, String)| format!("{name}='{}'\n", value.replace('\'', r"'\''"));
    variables.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_the_shell() {
        let variables = [("kiwi_iname".to_owned(), "it's".to_owned())];
        assert_eq!(profile(&variables), "kiwi_iname='it'\\''s'\n");
    }
}

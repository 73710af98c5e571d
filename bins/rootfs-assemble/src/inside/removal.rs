//! Packages that the description wants gone.

use std::fs;
use std::path::Path;

use stage::Result;

use super::guest::Guest;
use super::{database, files, part, warn};

/// Removes packages with what depends on them, and what only they needed.
///
/// # Errors
/// Exit code 1 with what apt said.
pub fn uninstall(guest: &Guest, names: &[String]) -> Result<()> {
    let names = present(names)?;
    if names.is_empty() {
        return Ok(());
    }
    let mut args = vec![
        "-q",
        "-y",
        "--auto-remove",
        "--allow-remove-essential",
        "remove",
    ];
    args.extend(names.iter().map(String::as_str));
    part("uninstall packages", || guest.must("apt-get", &args))
}

/// Removes packages by force: without their scripts, whatever depends on them.
///
/// # Errors
/// Exit code 1 with what dpkg said.
pub fn delete(guest: &Guest, names: &[String]) -> Result<()> {
    let names = present(names)?;
    if names.is_empty() {
        return Ok(());
    }
    for name in &names {
        remove_scripts(name)?;
    }
    let mut args = vec![
        "--force-unsafe-io",
        "--force-remove-reinstreq",
        "--force-remove-essential",
        "--force-remove-protected",
        "--force-depends",
        "--remove",
    ];
    args.extend(names.iter().map(String::as_str));
    part("delete packages", || guest.must("dpkg", &args))
}

/// The installed ones of the packages; the others are told.
fn present(names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let installed = database::installed()?;
    let (here, absent): (Vec<String>, Vec<String>) = names
        .iter()
        .cloned()
        .partition(|n| installed.iter().any(|(name, _, _)| name == n));
    for name in absent {
        warn(format!(
            "package {name} is to be removed and is not installed"
        ));
    }
    Ok(here)
}

fn remove_scripts(name: &str) -> Result<()> {
    let dir = Path::new("/var/lib/dpkg/info");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let (package, kind) = file.rsplit_once('.').unwrap_or((&file, ""));
        let ours = package == name || package.split(':').next() == Some(name);
        if ours && ["preinst", "prerm", "postinst", "postrm"].contains(&kind) {
            files::remove(entry.path())?;
        }
    }
    Ok(())
}

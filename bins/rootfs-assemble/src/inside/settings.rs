//! Accounts, host name, locale, keymap, time zone, package sources: what the description sets in the tree.

use std::fs;
use std::path::Path;

use stage::{Error, Result};
use store::Store;

use super::accounts::{Accounts, home_mode, make_home};
use super::guest::{Guest, find};
use super::{files, warn};
use crate::job::{Image, ImageSource};

const DAY: i64 = 86_400;

/// Applies all settings.
///
/// # Errors
/// Exit code 3 for a value that cannot be, 1 with the path that failed.
pub fn apply(guest: &Guest, store: &Store, image: &Image) -> Result<()> {
    accounts(guest, image)?;
    host_name(&image.name)?;
    if let Some(locale) = &image.locale {
        set_locale(guest, locale)?;
    }
    if let Some(keytable) = &image.keytable {
        set_keytable(keytable)?;
    }
    if let Some(timezone) = &image.timezone {
        set_timezone(timezone)?;
    }
    for source in &image.sources {
        add_source(store, source)?;
    }
    Ok(())
}

/// Days since 1970 of the image's time stamp.
pub fn day(epoch: i64) -> u64 {
    u64::try_from(epoch / DAY).unwrap_or(0)
}

fn accounts(guest: &Guest, image: &Image) -> Result<()> {
    if image.users.is_empty() {
        return Ok(());
    }
    let etc = Path::new("/etc");
    let mut accounts = Accounts::read(etc)?;
    let mut homes = Vec::new();
    for user in &image.users {
        homes.extend(accounts.apply(user, day(guest.epoch()))?);
    }
    accounts.write(etc)?;
    let mode = home_mode(&fs::read_to_string("/etc/login.defs").unwrap_or_default());
    for home in &homes {
        make_home(home, mode, guest.epoch())?;
    }
    Ok(())
}

/// The image's name, where neither a package nor the overlay chose one.
fn host_name(name: &str) -> Result<()> {
    let host: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let host = host.trim_matches('-');
    if !Path::new("/etc/hostname").exists() && !host.is_empty() {
        files::write("/etc/hostname", format!("{host}\n"), 0o644)?;
    }
    if !Path::new("/etc/hosts").exists() {
        let text = format!(
            "127.0.0.1\tlocalhost\n127.0.1.1\t{host}\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        );
        files::write("/etc/hosts", text, 0o644)?;
    }
    Ok(())
}

/// `en_US,de_DE`: the first is the system's, all are generated where the tree can do that.
fn set_locale(guest: &Guest, locales: &str) -> Result<()> {
    let names: Vec<&str> = locales.split(',').map(str::trim).collect();
    let full = |name: &str| match name {
        "POSIX" | "C" => name.to_owned(),
        _ if name.contains('.') => name.to_owned(),
        _ => format!("{name}.UTF-8"),
    };
    let first = if names.contains(&"POSIX") {
        "POSIX"
    } else {
        names[0]
    };
    let text = format!("LANG={}\n", full(first));
    files::write("/etc/locale.conf", &text, 0o644)?;
    if !Path::new("/etc/default/locale").is_symlink() {
        files::write("/etc/default/locale", &text, 0o644)?;
    }
    let wanted: Vec<String> = names
        .iter()
        .map(|n| full(n))
        .filter(|n| n.contains("UTF-8"))
        .collect();
    if wanted.is_empty() || wanted.iter().all(|n| n.starts_with("C.")) {
        return Ok(());
    }
    if find("locale-gen").is_none() {
        if !Path::new("/usr/lib/locale/locale-archive").exists() {
            warn(format!(
                "locale {locales}: the image cannot generate it; add <package name=\"locales\"/>"
            ));
        }
        return Ok(());
    }
    let lines: String = wanted.iter().map(|n| format!("{n} UTF-8\n")).collect();
    let path = "/etc/locale.gen";
    let before = fs::read_to_string(path).unwrap_or_default();
    files::write(path, before + &lines, 0o644)?;
    guest.must("locale-gen", &[])
}

fn set_keytable(keytable: &str) -> Result<()> {
    check_word("keytable", keytable)?;
    files::write("/etc/vconsole.conf", format!("KEYMAP={keytable}\n"), 0o644)?;
    if Path::new("/usr/share/console-setup").is_dir() {
        // A console keymap is named layout-variant; X knows the layout.
        let layout = keytable.split(['-', '_']).next().unwrap_or(keytable);
        let text = format!(
            "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"\"\nXKBOPTIONS=\"\"\nBACKSPACE=\"guess\"\n"
        );
        files::write("/etc/default/keyboard", text, 0o644)?;
    }
    Ok(())
}

fn set_timezone(zone: &str) -> Result<()> {
    check_word("timezone", zone)?;
    let data = Path::new("/usr/share/zoneinfo");
    if data.is_dir() && !data.join(zone).exists() {
        return Err(Error::refused(format!(
            "timezone {zone:?} is not in the image's tz database"
        ))
        .advice("names look like Europe/Berlin or UTC; older ones need <package name=\"tzdata-legacy\"/>"));
    }
    if !data.is_dir() && zone != "UTC" {
        warn(format!(
            "timezone {zone}: the image has no tz database; add <package name=\"tzdata\"/>"
        ));
    }
    files::symlink(
        &Path::new("../usr/share/zoneinfo").join(zone),
        Path::new("/etc/localtime"),
    )
    .map_err(|e| Error::failed(format!("/etc/localtime: {e}")))?;
    files::write("/etc/timezone", format!("{zone}\n"), 0o644)
}

/// A value that becomes part of a path or of a line.
fn check_word(what: &str, value: &str) -> Result<()> {
    let fine = !value.is_empty()
        && !value.starts_with('/')
        && !value.contains("..")
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-+./".contains(c));
    if fine {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{what} {value:?}; expected a plain name"
    )))
}

fn add_source(store: &Store, source: &ImageSource) -> Result<()> {
    for (path, key) in &source.keys {
        files::write(path, store.get(key)?, 0o644)?;
    }
    let path = format!("/etc/apt/sources.list.d/{}", source.name);
    files::write(path, &source.text, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place() {
        for bad in ["", "/etc/passwd", "../x", "a b", "a\nb"] {
            assert!(check_word("timezone", bad).is_err(), "{bad:?}");
        }
        assert!(check_word("timezone", "America/Argentina/Buenos_Aires").is_ok());
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day(86_400 * 3 + 5), 3);
    }
}

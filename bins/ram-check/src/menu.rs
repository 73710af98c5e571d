//! `--store`: another RAM store than that of kernelcmdline, for machines by the boot menu of their own copy of the medium.
//!
//! The menu is `boot/grub/grub.cfg`, for BIOS and UEFI alike. Of its entries the preselected one is left, with the word for
//! the store first on its command line and no other such word behind it; the file keeps its place and its length, so that
//! nothing else of the medium changes. *Not read:* menus but those that iso-pack writes, with a `linux` line in an entry.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use image::iso9660;
use ram_deploy::store::Kind;
use stage::{At, Error, Result};

/// The menu's directory and path on the medium.
const DIRECTORY: &str = "boot/grub";
const MENU: &str = "boot/grub/grub.cfg";
/// Longest menu that is read, in bytes.
const LONGEST: u64 = 1 << 20;
/// The word of the kernel command line that names the store.
const WORD: &str = "rd.ramforge.store=";

/// The names that `--store` takes.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Kind::ALL.map(Kind::name).into_iter().chain(["auto"])
}

/// The kernel command line that decides on the store: the word for the one that is asked for, or that of the medium.
pub(crate) fn deciding(store: Option<&str>, kernelcmdline: &str) -> String {
    store.map_or(kernelcmdline.to_owned(), |name| format!("{WORD}{name}"))
}

/// Lets the medium in the file `iso`, which is nobody else's, boot into another store.
///
/// # Errors
/// Exit code 3 where it has no such menu.
pub(crate) fn set_store(iso: &Path, store: &str) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(iso);
    let file = file.at(iso)?;
    let Some(extent) = find(&file, store)? else {
        return Err(refused(store, &format!("the medium has no {MENU}")));
    };
    let mut bytes = vec![0; usize::try_from(extent.len).unwrap_or_default()];
    file.read_exact_at(&mut bytes, extent.offset).at(iso)?;
    let menu = std::str::from_utf8(&bytes).ok();
    let Some(menu) = menu.and_then(|menu| with_store(menu, store)) else {
        let fact = format!("no preselected entry of {MENU} boots Linux");
        return Err(refused(store, &fact));
    };
    file.write_all_at(menu.as_bytes(), extent.offset).at(iso)
}

/// Where the menu lies.
fn find(file: &File, store: &str) -> Result<Option<iso9660::Extent>> {
    let read = |at: u64, buffer: &mut [u8]| file.read_exact_at(buffer, at);
    let files = iso9660::list(&read, DIRECTORY);
    let files = files.map_err(|error| refused(store, &format!("the medium: {error}")))?;
    let mut files = files.into_iter().flatten();
    Ok(files.find(|file| file.path == MENU && file.len <= LONGEST))
}

fn refused(store: &str, fact: &str) -> Error {
    Error::refused(format!(
        "--store {store}: {fact}; expected a medium with the boot menu of iso-pack"
    ))
    .advice(format!(
        "build one with {WORD}{store} in kernelcmdline, and leave --store out"
    ))
}

/// The menu with nothing but its preselected entry, which boots into `store`, in as many bytes; `None` where it has no such
/// entry, or no room.
fn with_store(menu: &str, store: &str) -> Option<String> {
    let (head, entries) = menu.split_at(menu.find("\nmenuentry ")? + 1);
    let default = head.lines().find_map(|l| l.strip_prefix("set default="))?;
    let default: usize = default.parse().ok()?;
    let entry = entries.split_inclusive("\n}\n").nth(default)?;
    let is_linux = |line: &&str| line.trim_start().starts_with("linux ");
    let line = entry.lines().find(is_linux)?;
    let entry = entry.replacen(line, &linux(line, store), 1);
    let head = head.replacen(&format!("set default={default}\n"), "set default=0\n", 1);
    let mut text = head + &entry;
    let room = menu.len().checked_sub(text.len())?;
    text.extend(std::iter::repeat_n('\n', room));
    Some(text)
}

/// A `linux` line of GRUB: the command, the kernel, its command line.
fn linux(line: &str, store: &str) -> String {
    let (words, word) = (words(line), format!("{WORD}{store}"));
    let kept = words.iter().map(String::as_str);
    let mut kept: Vec<&str> = kept.filter(|word| !names_store(word)).collect();
    kept.insert(2.min(kept.len()), &word);
    format!("    {}", kept.join(" "))
}

/// Whether a word of a menu names a store, with whatever quotes.
fn names_store(word: &str) -> bool {
    let plain = word.replace(['\'', '"', '\\'], "");
    plain == WORD.trim_end_matches('=') || plain.starts_with(WORD)
}

/// The words of a line as they stand there: blanks between single quotes part nothing.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        quoted ^= c == '\'' && !escaped;
        escaped = c == '\\' && !quoted && !escaped;
        match words.last_mut() {
            Some(word) if quoted || c != ' ' => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "set timeout=1\nif serial --unit=0; then\n    terminal_input serial console\nfi\n";

    /// A menu as iso-pack writes it.
    fn menu(default: usize, cmdline: &str) -> String {
        let linux = |title: &str, more: &str| {
            format!(
                "menuentry {title} {{\n    linux /boot/linux {cmdline}{more} $iso_words\n    initrd /boot/initrd\n}}\n"
            )
        };
        let (first, second) = (
            linux("'Debian VM'", ""),
            linux("'Debian VM (failsafe)'", " nomodeset"),
        );
        format!(
            "set default={default}\n{HEAD}{first}{second}menuentry 'Boot from the next device' {{\n    exit\n}}\n"
        )
    }

    fn linux_line(menu: &str) -> &str {
        menu.lines().find(|l| l.contains("linux ")).unwrap()
    }

    #[test]
    fn the_preselected_entry_is_left_with_the_word_and_the_length_stays() {
        let before = menu(0, "root=ramforge quiet 'a=\"b c\"' -- single");
        let after = with_store(&before, "zram").unwrap();
        assert_eq!(after.len(), before.len());
        let expected = format!(
            "set default=0\n{HEAD}menuentry 'Debian VM' {{\n    linux /boot/linux rd.ramforge.store=zram root=ramforge \
             quiet 'a=\"b c\"' -- single $iso_words\n    initrd /boot/initrd\n}}\n"
        );
        assert_eq!(after.trim_end(), expected.trim_end());
        let second = with_store(&menu(1, "root=ramforge"), "auto").unwrap();
        assert!(second.starts_with("set default=0\n"), "{second}");
        let line =
            "    linux /boot/linux rd.ramforge.store=auto root=ramforge nomodeset $iso_words";
        assert_eq!(linux_line(&second), line);
    }

    #[test]
    fn no_other_word_for_a_store_is_left_behind_it() {
        for other in [
            "rd.ramforge.store=erofs",
            "'rd.ramforge.store=\"brd\"'",
            "'\"rd.ramforge.store=brd\"' rd.ramforge.store",
        ] {
            let after = with_store(&menu(0, &format!("a {other} b")), "tmpfs").unwrap();
            let line = "    linux /boot/linux rd.ramforge.store=tmpfs a b $iso_words";
            assert_eq!(linux_line(&after), line);
        }
    }

    #[test]
    fn quotes_keep_words_whole() {
        let line = r"    linux /boot/linux 'a=it'\''s one' b";
        assert_eq!(
            words(line),
            ["linux", "/boot/linux", r"'a=it'\''s one'", "b"]
        );
    }

    #[test]
    fn other_menus_are_none() {
        let exit = menu(2, "quiet");
        let room = "set default=0\n\nmenuentry a {\n    linux /boot/linux\n}\n";
        for other in [
            "",
            "configfile /other.cfg\n",
            &exit,
            &menu(3, "quiet"),
            room,
        ] {
            assert_eq!(with_store(other, "zram"), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_such_medium_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("medium.iso");
        std::fs::write(&path, [7; 40_000]).unwrap();
        let refused = set_store(&path, "zram").unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("--store zram: the medium: "),
            "{refused}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), [7; 40_000]);
    }
}

//! GRUB's configuration: terminal, time-out, menu entries.

use std::fmt::Write;

/// A boot menu.
#[derive(Debug, Clone)]
pub struct Menu<'a> {
    /// Seconds before the preselected entry boots; negative: wait for ever.
    pub timeout: i64,
    /// The description's console words: `serial`, `console`, `gfxterm`.
    pub console: &'a str,
    /// GRUB's own `serial …` command, where the description has one.
    pub serial_line: Option<&'a str>,
    /// Index of the preselected entry.
    pub default: usize,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// One line of the menu.
#[derive(Debug, Clone)]
pub enum Entry {
    /// Boots Linux.
    Linux {
        /// What the menu shows.
        title: String,
        /// Path of the kernel on GRUB's root device.
        kernel: String,
        /// The kernel command line.
        cmdline: String,
        /// A variable of GRUB whose words follow, where it is set.
        variable: Option<&'static str>,
        /// Paths of the initrd's files, loaded one behind the other.
        initrd: Vec<String>,
    },
    /// Boots Linux from the directory `$dir` that GRUB itself came from.
    Network {
        /// What the menu shows.
        title: String,
        /// The kernel's file in that directory.
        kernel: String,
        /// The kernel command line, before what is in `$words`.
        cmdline: String,
        /// The initrd's file in that directory.
        initrd: String,
    },
    /// Leaves GRUB, so that the firmware tries its next device.
    NextDevice {
        /// What the menu shows.
        title: String,
    },
}

/// The serial line of a PC's first port, 115200 baud, 8N1.
const SERIAL: &str = "serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1";

impl Menu<'_> {
    /// The text of `grub.cfg`.
    pub fn render(&self) -> String {
        let mut text = format!(
            "set default={}\nset timeout={}\n",
            self.default, self.timeout
        );
        if self.console.split_whitespace().any(|word| word == "serial") {
            let serial = self.serial_line.unwrap_or(SERIAL);
            // A machine without that port keeps its screen.
            let _ = write!(
                text,
                "if {serial}; then\n    terminal_input serial console\n    \
                 terminal_output serial console\nfi\n"
            );
        }
        for entry in &self.entries {
            entry.render(&mut text);
        }
        text
    }
}

impl Entry {
    fn render(&self, text: &mut String) {
        let _ = match self {
            Self::Linux {
                title,
                kernel,
                cmdline,
                variable,
                initrd,
            } => write!(
                text,
                "menuentry {} {{\n    linux {} {}{}\n    initrd {}\n}}\n",
                quote(title),
                quote(kernel),
                quote_words(cmdline),
                variable.map(|name| format!(" ${name}")).unwrap_or_default(),
                initrd
                    .iter()
                    .map(|path| quote(path))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
            Self::Network {
                title,
                kernel,
                cmdline,
                initrd,
            } => write!(
                text,
                "menuentry {} {{\n    linux $dir/{} {} $words\n    initrd $dir/{}\n}}\n",
                quote(title),
                quote(kernel),
                quote_words(cmdline),
                quote(initrd),
            ),
            Self::NextDevice { title } => {
                write!(text, "menuentry {} {{\n    exit\n}}\n", quote(title))
            }
        };
    }
}

/// One word for GRUB's shell, which has the quoting of a POSIX shell.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=,:+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A kernel command line: its own double quotes reach the kernel, its words stay apart.
fn quote_words(cmdline: &str) -> String {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in cmdline.chars() {
        quoted ^= c == '"';
        match words.last_mut() {
            Some(word) if quoted || !c.is_whitespace() => word.push(c),
            _ => words.push(String::new()),
        }
    }
    let words = words.iter().filter(|word| !word.is_empty());
    words.map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_is_what_grub_reads() {
        let menu = Menu {
            timeout: 1,
            console: "serial",
            serial_line: None,
            default: 0,
            entries: vec![
                Entry::Linux {
                    title: "It's here; $HOME".into(),
                    kernel: "/boot/linux".into(),
                    cmdline: "root=/dev/ram1p3  console=ttyS0 a=\"b c;d\"".into(),
                    variable: Some("more"),
                    initrd: vec!["/boot/initrd".into(), "/boot/more".into()],
                },
                Entry::NextDevice {
                    title: "Other".into(),
                },
            ],
        };
        let expected = "set default=0\nset timeout=1\n\
            if serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1; then\n    \
            terminal_input serial console\n    terminal_output serial console\nfi\n\
            menuentry 'It'\\''s here; $HOME' {\n    \
            linux /boot/linux root=/dev/ram1p3 console=ttyS0 'a=\"b c;d\"' $more\n    \
            initrd /boot/initrd /boot/more\n}\nmenuentry Other {\n    exit\n}\n";
        assert_eq!(menu.render(), expected);
    }
}

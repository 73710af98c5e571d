//! What happens after a failure. Never: going on with a half-written root.
//!
//! `rd.ramforge.on-error=` on the kernel command line chooses: `stop` (the default), which asks on every console whether
//! to try again, restart or switch off; `reboot` and `poweroff`, which do that after a while; or `shell`, which works
//! only where `rd.ramforge.shell` allows it.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::system::RebootCommand;

use crate::cmdline::Cmdline;
use crate::config::{self, ModuleList};
use crate::console::Console;
use crate::modules::Loader;
use crate::stop::{Result, Stop};

/// Time to read the message before the machine goes down.
const READ: Duration = Duration::from_secs(15);

/// What is done after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Wait for a person.
    Hold,
    /// Restart after a while.
    Reboot,
    /// Switch off after a while.
    PowerOff,
    /// Give a shell on the console.
    Shell,
}

impl OnError {
    /// What the kernel command line asks for.
    pub fn chosen(cmdline: &Cmdline) -> Self {
        match cmdline.value("rd.ramforge.on-error") {
            Some("reboot") => Self::Reboot,
            Some("poweroff") => Self::PowerOff,
            Some("shell") if cmdline.switch("rd.ramforge.shell") => Self::Shell,
            Some("stop") => Self::Hold,
            None if cmdline.switch("rd.ramforge.shell") => Self::Shell,
            _ => Self::Hold,
        }
    }
}

/// Whether the command line says what follows a failure, without a person.
pub fn is_unattended(cmdline: &Cmdline) -> bool {
    matches!(
        OnError::chosen(cmdline),
        OnError::Reboot | OnError::PowerOff
    )
}

/// What is to be said where the command line asks for something after a failure that there is not, or not so.
pub fn misread(cmdline: &Cmdline) -> Option<String> {
    let word = cmdline.value("rd.ramforge.on-error")?;
    let fact = match word {
        "stop" | "reboot" | "poweroff" => return None,
        "shell" if cmdline.switch("rd.ramforge.shell") => return None,
        "shell" => "needs rd.ramforge.shell beside it",
        _ => "is none of stop, reboot, poweroff and shell",
    };
    Some(format!(
        "warning: rd.ramforge.on-error={word} {fact}; after a failure a person is asked"
    ))
}

/// Drivers of keyboards, also of one that is plugged in to answer with.
struct Keyboards(Option<Loader>);

impl Keyboards {
    fn new() -> Self {
        // Where the list cannot be read the kernel's own drivers are what there is.
        let list = config::read::<ModuleList>(config::MODULES_FILE);
        Self(list.ok().map(Loader::new))
    }

    fn load(&mut self, console: &Console) {
        if let Some(loader) = &mut self.0 {
            loader.load_for_devices(console);
        }
    }
}

/// What a person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Retry,
    Shell,
    Reboot,
    PowerOff,
}

impl Choice {
    /// The choice in a line that was typed: its letter, or the word.
    fn of(line: &str, shell: bool) -> Option<Self> {
        match line.trim().to_ascii_lowercase().as_str() {
            "r" | "retry" => Some(Self::Retry),
            "s" | "shell" if shell => Some(Self::Shell),
            "b" | "restart" | "reboot" => Some(Self::Reboot),
            "p" | "off" | "poweroff" => Some(Self::PowerOff),
            _ => None,
        }
    }
}

/// Does `work` until it succeeds. After a failure it says why on every console and does what the command line asks for,
/// or what a person chooses.
pub fn insist<T>(cmdline: &Cmdline, console: &Console, work: impl Fn() -> Result<T>) -> T {
    loop {
        match work() {
            Ok(done) => return done,
            Err(stop) => after(&stop, cmdline, console, true),
        }
    }
}

/// Says why on every console and stops, where trying again makes no sense. Does not come back.
pub fn stop(stop: &Stop, cmdline: &Cmdline, console: &Console) -> ! {
    loop {
        after(stop, cmdline, console, false);
    }
}

/// What follows a failure. Comes back where the person wants to try again.
fn after(stop: &Stop, cmdline: &Cmdline, console: &Console, retry: bool) {
    console.say(&format!("STOPPED: {stop}"));
    console.take_screen();
    match OnError::chosen(cmdline) {
        OnError::Hold => (),
        OnError::Reboot => down(RebootCommand::Restart, "restarts", console),
        OnError::PowerOff => down(RebootCommand::PowerOff, "is switched off", console),
        OnError::Shell => shell(console),
    }
    let may_shell = cmdline.switch("rd.ramforge.shell");
    let mut keyboards = Keyboards::new();
    keyboards.load(console);
    loop {
        console.say(&question(retry, may_shell));
        let line = console.read_line(|| keyboards.load(console));
        match Choice::of(&line, may_shell) {
            Some(Choice::Retry) if retry => {
                console.say("trying again");
                return;
            }
            Some(Choice::Shell) => shell(console),
            Some(Choice::Reboot) => down_now(RebootCommand::Restart, console),
            Some(Choice::PowerOff) => down_now(RebootCommand::PowerOff, console),
            // It is asked again.
            Some(Choice::Retry) | None => (),
        }
    }
}

/// Asks before something is written. Comes back where the answer is yes.
pub fn ask(what: &str, console: &Console) {
    console.say(what);
    console.take_screen();
    let mut keyboards = Keyboards::new();
    keyboards.load(console);
    loop {
        console.say("type y to go on, b to restart or p to switch off, and press Enter");
        let line = console.read_line(|| keyboards.load(console));
        if ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()) {
            return;
        }
        match Choice::of(&line, false) {
            Some(Choice::Reboot) => down_now(RebootCommand::Restart, console),
            Some(Choice::PowerOff) => down_now(RebootCommand::PowerOff, console),
            _ => (),
        }
    }
}

fn question(retry: bool, shell: bool) -> String {
    let retry = if retry { "r to try again, " } else { "" };
    let shell = if shell { "s for a shell, " } else { "" };
    format!(
        "nothing was started; type {retry}{shell}b to restart or p to switch off, and press Enter"
    )
}

fn down_now(command: RebootCommand, console: &Console) {
    let Err(e) = system_down(command);
    console.say(&format!("the kernel refused: {e}"));
}

fn system_down(command: RebootCommand) -> rustix::io::Result<Infallible> {
    rustix::fs::sync();
    match rustix::system::reboot(command) {
        Err(e) => Err(e),
        // It is on its way.
        Ok(()) => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
    }
}

fn down(command: RebootCommand, words: &str, console: &Console) {
    console.say(&format!("the machine {words} in {} s", READ.as_secs()));
    std::thread::sleep(READ);
    down_now(command, console);
}

fn shell(console: &Console) {
    console.say("a shell follows because rd.ramforge.shell is set; leave it to choose");
    let Ok(terminal) = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")
    else {
        return;
    };
    let stdio = || {
        terminal
            .try_clone()
            .map_or_else(|_| Stdio::inherit(), Stdio::from)
    };
    let run = Command::new("/bin/sh")
        .arg("-i")
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .status();
    if let Err(e) = run {
        console.say(&format!("/bin/sh: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_choice() {
        assert_eq!(Choice::of("r\n", false), Some(Choice::Retry));
        assert_eq!(Choice::of(" Reboot\r\n", false), Some(Choice::Reboot));
        assert_eq!(Choice::of("p", true), Some(Choice::PowerOff));
        assert_eq!(Choice::of("s", true), Some(Choice::Shell));
        for none in ["s", "", "\n", "x", "yes", "please no", "rr"] {
            assert_eq!(Choice::of(none, false), None, "{none:?}");
        }
    }

    #[test]
    fn the_question_names_what_is_allowed() {
        let all = question(true, true);
        assert!(all.contains("r to try again") && all.contains("s for a shell"));
        let least = question(false, false);
        assert!(!least.contains("try again") && !least.contains("shell"));
    }

    #[test]
    fn a_shell_needs_leave() {
        let chosen = |line| OnError::chosen(&Cmdline::parse(line));
        assert_eq!(chosen(""), OnError::Hold);
        assert_eq!(chosen("rd.ramforge.on-error=reboot"), OnError::Reboot);
        assert_eq!(
            chosen("rd.ramforge.on-error=poweroff rd.ramforge.shell"),
            OnError::PowerOff
        );
        assert_eq!(chosen("rd.ramforge.on-error=shell"), OnError::Hold);
        assert_eq!(
            chosen("rd.ramforge.on-error=shell rd.ramforge.shell"),
            OnError::Shell
        );
        assert_eq!(chosen("rd.ramforge.shell"), OnError::Shell);
        assert_eq!(chosen("rd.ramforge.on-error=nonsense"), OnError::Hold);
    }

    #[test]
    fn what_is_misread_is_told() {
        let told = |line| misread(&Cmdline::parse(line));
        let warning = told("rd.ramforge.on-error=restart").unwrap();
        assert!(warning.contains("=restart is none of stop, reboot, poweroff and shell"));
        let warning = told("rd.ramforge.on-error=shell").unwrap();
        assert!(warning.contains("=shell needs rd.ramforge.shell beside it"));
        for right in [
            "",
            "rd.ramforge.on-error=stop",
            "rd.ramforge.on-error=reboot",
        ] {
            assert_eq!(told(right), None, "{right}");
        }
    }
}

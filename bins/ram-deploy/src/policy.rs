//! What happens after a failure. Never: going on with a half-written root.
//!
//! `rd.ramforge.on-error=` on the kernel command line chooses: `stop` (the default), `reboot`,
//! `poweroff`, or `shell`, which works only where `rd.ramforge.shell` allows it.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::system::RebootCommand;

use crate::cmdline::Cmdline;
use crate::console::Console;
use crate::stop::Stop;

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
            None if cmdline.switch("rd.ramforge.shell") => Self::Shell,
            _ => Self::Hold,
        }
    }
}

/// Says why on every console and stops. Does not come back.
pub fn stop(stop: &Stop, cmdline: &Cmdline, console: &Console) -> ! {
    console.say(&format!("STOPPED: {stop}"));
    match OnError::chosen(cmdline) {
        OnError::Hold => (),
        OnError::Reboot => down(RebootCommand::Restart, "restarts", console),
        OnError::PowerOff => down(RebootCommand::PowerOff, "is switched off", console),
        OnError::Shell => shell(console),
    }
    console.say("nothing was started; press Ctrl-Alt-Del or the power button to leave");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn down(command: RebootCommand, words: &str, console: &Console) {
    console.say(&format!("the machine {words} in {} s", READ.as_secs()));
    std::thread::sleep(READ);
    if let Err(e) = rustix::system::reboot(command) {
        console.say(&format!("the kernel refused: {e}"));
    }
}

fn shell(console: &Console) {
    console.say("a shell follows because rd.ramforge.shell is set; leave it to stop");
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
}

//! Machines of the tests: at most two at a time, their serial lines kept as files.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ram_check::qemu::{Answer, Guest, Machine, Outcome};

use crate::shared;

/// Time until a login prompt in software emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(600);
/// Time for a command inside, such as reading every file, or building an image.
const COMMAND: Duration = Duration::from_secs(1800);
/// Time for what was pressed to have an effect.
const MOMENT: Duration = Duration::from_secs(5);
/// Machines at a time.
const SLOTS: usize = 2;

/// The right to run a machine; ends on drop. Under cargo-nextest the test group grants it already.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code)] File);

/// Waits until fewer than two machines run.
pub fn slot() -> Slot {
    loop {
        for n in 0..SLOTS {
            let file = File::create(shared().join(format!("machine.{n}.lock"))).unwrap();
            if file.try_lock().is_ok() {
                return Slot(file);
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A machine that was started and is watched.
#[derive(Debug)]
pub struct Running {
    guest: Guest,
    name: String,
    slot: Slot,
}

/// A machine whose boot came to an end, with its log.
#[derive(Debug)]
pub struct Booted {
    guest: Guest,
    /// How the boot ended.
    pub outcome: Outcome,
    log: PathBuf,
    _slot: Slot,
}

/// Boots until the outcome is known. `name` is that of the log.
pub fn boot(name: &str, machine: &Machine) -> Booted {
    start(name, machine).up()
}

/// Switches a machine on. `name` is that of the log.
pub fn start(name: &str, machine: &Machine) -> Running {
    let slot = slot();
    let guest = Guest::start(machine).unwrap_or_else(|e| panic!("{e}"));
    Running {
        guest,
        name: name.to_owned(),
        slot,
    }
}

impl Running {
    /// Waits until the outcome is known.
    pub fn up(mut self) -> Booted {
        let outcome = self.guest.wait_up(BOOT, |_| ());
        self.booted(outcome.unwrap_or_else(|e| panic!("{e}")))
    }

    /// Waits for the login prompt, whatever was said before.
    ///
    /// # Panics
    /// Where it does not come.
    pub fn up_after_all(mut self) -> Booted {
        self.wait_for(ram_check::qemu::LOGIN);
        self.booted(Outcome::Login)
    }

    fn booted(self, outcome: Outcome) -> Booted {
        let name = self.name;
        for mark in self.guest.marks() {
            println!("{name}: {} at {:.1} s", mark.name, mark.at.as_secs_f64());
        }
        let logs = shared().join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        Booted {
            guest: self.guest,
            outcome,
            log: logs.join(format!("{name}.log")),
            _slot: self.slot,
        }
    }

    /// Waits until the log has `pattern`; gives the log up to there.
    ///
    /// # Panics
    /// Where it does not come.
    pub fn wait_for(&mut self, pattern: &str) -> String {
        let found = self.guest.expect(pattern, 0, BOOT);
        found.unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Types a line.
    ///
    /// # Panics
    /// Where the machine is gone.
    pub fn type_line(&mut self, line: &str) {
        self.guest.type_line(line).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Presses keys of the keyboard, once.
    ///
    /// # Panics
    /// Where the machine has none.
    pub fn press(&mut self, keys: &[&str]) {
        self.guest.press(keys).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Presses keys of the keyboard, again and again until the log has `pattern`.
    ///
    /// # Panics
    /// Where the machine has none, or it does not come.
    pub fn press_until(&mut self, keys: &[&str], pattern: &str) {
        let end = Instant::now() + BOOT;
        loop {
            let pressed = self.guest.press(keys);
            match self.guest.expect(pattern, 0, MOMENT) {
                Ok(_) => return,
                Err(e) if Instant::now() >= end => panic!("{}: {e}", self.name),
                Err(e) => pressed.unwrap_or_else(|_| panic!("{}: {e}", self.name)),
            }
        }
    }

    /// Takes the medium away.
    ///
    /// # Panics
    /// Where the machine holds on to it.
    pub fn remove_medium(&mut self) {
        self.guest.remove_medium().unwrap_or_else(|e| panic!("{e}"));
    }

    /// Plugs in a stick.
    ///
    /// # Panics
    /// Where it cannot be plugged in.
    pub fn plug(&mut self, name: &str, medium: &Path) {
        self.guest
            .plug(name, medium)
            .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Puts a disc into the CD drive.
    ///
    /// # Panics
    /// Where it cannot be put in.
    pub fn insert(&mut self, medium: &Path) {
        self.guest.insert(medium).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Types a line, where there is one, and waits until the machine ends by itself; gives the whole log, and how it ended,
    /// see [`Guest::wait_end`].
    ///
    /// # Panics
    /// Where it does not.
    pub fn end(mut self, line: Option<&str>) -> (String, String) {
        let end = self.guest.wait_end(line, BOOT);
        let end = end.unwrap_or_else(|e| panic!("{e}"));
        (self.guest.log(), end)
    }
}

impl Booted {
    /// Logs in as root.
    ///
    /// # Panics
    /// Where there is no login prompt, or it does not let root in.
    #[must_use]
    pub fn login(mut self) -> Self {
        assert_eq!(self.outcome, Outcome::Login, "{}", self.tail());
        self.guest
            .login("root", "linux")
            .unwrap_or_else(|e| panic!("{e}"));
        self
    }

    /// Runs a command, however it ends.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn ask(&mut self, command: &str) -> Answer {
        self.guest
            .run(command, COMMAND)
            .unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    /// Runs a command that must succeed, and gives its output.
    ///
    /// # Panics
    /// Where it fails.
    pub fn sure(&mut self, command: &str) -> String {
        let answer = self.ask(command);
        assert_eq!(answer.status, 0, "{command}: {}", answer.output);
        answer.output
    }

    /// Runs a command that ends the session, and logs in at the prompt that follows; gives what was said until then.
    ///
    /// # Panics
    /// Where it does not come.
    pub fn again(&mut self, command: &str) -> String {
        let from = self.guest.position();
        let said = self
            .guest
            .type_line(command)
            .and_then(|()| self.guest.expect(ram_check::qemu::LOGIN, from, BOOT))
            .unwrap_or_else(|e| panic!("{command}: {e}"));
        let inside = self.guest.login("root", "linux");
        inside.unwrap_or_else(|e| panic!("{e}"));
        said
    }

    /// Takes the medium away.
    ///
    /// # Panics
    /// Where the machine holds on to it.
    pub fn remove_medium(&mut self) {
        self.guest.remove_medium().unwrap_or_else(|e| panic!("{e}"));
    }

    /// Whether the CD drive's tray is open.
    ///
    /// # Panics
    /// Where the monitor does not tell.
    pub fn tray_is_open(&mut self) -> bool {
        self.guest.tray_is_open().unwrap_or_else(|e| panic!("{e}"))
    }

    /// Switches the system off from inside; gives the whole log.
    ///
    /// # Panics
    /// Where it does not go down by itself.
    pub fn power_off(mut self) -> String {
        self.guest
            .power_off(Duration::from_secs(300))
            .unwrap_or_else(|e| panic!("{e}"));
        self.guest.log()
    }

    /// The same, and nothing that was mounted is in the way.
    ///
    /// # Panics
    /// Where something is.
    pub fn goes_down_clean(self) {
        let log = self.power_off();
        for bad in [
            "Failed unmounting",
            "Failed to unmount",
            "Could not detach",
            "Failed to finalize",
            "EXT4-fs error",
            "BUG:",
            "Call Trace",
        ] {
            assert!(!log.contains(bad), "{bad:?} in the log of the machine");
        }
    }

    /// The whole log.
    pub fn log(&self) -> String {
        self.guest.log()
    }

    /// Where the log lies, and its end.
    pub fn tail(&self) -> String {
        let log = self.guest.log();
        let lines: Vec<_> = log.lines().filter(|l| !l.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("see {}\n{tail}", self.log.display())
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The log helps; that it cannot be written must not hide why a test fails.
        let _ = std::fs::write(&self.log, self.guest.log());
    }
}

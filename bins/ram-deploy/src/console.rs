//! Words for people: on every console, and in the kernel's log for those who come later.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one line may wait for a console that does not take it, such as a serial line that is held.
const PATIENCE: Duration = Duration::from_millis(500);
/// Least time between two lines of progress.
const PACE: Duration = Duration::from_secs(1);
/// After this time without a byte a line of progress says so.
const STANDSTILL: Duration = Duration::from_secs(5);
/// How often consoles that keep every line are told so.
const REMINDER: Duration = Duration::from_secs(30);
/// How often a console is asked for what was typed.
const POLL: Duration = Duration::from_millis(100);
/// The process id of plymouthd, where it runs.
const SPLASH: &str = "/run/plymouth/pid";
/// How long plymouth may take to quit.
const SPLASH_ANSWERS: Duration = Duration::from_secs(5);
/// Longest line that is read from a console.
const LINE: usize = 256;
/// Cells of the bar on a screen.
const CELLS: u64 = 24;

/// All consoles of the machine.
#[derive(Debug)]
pub struct Console {
    outputs: Vec<Output>,
    log: Option<Mutex<File>>,
    verbose: bool,
    pace: Mutex<Pace>,
}

/// When progress was told.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// That nothing goes on, on consoles that keep every line.
    still: Option<Instant>,
}

#[derive(Debug)]
struct Output {
    /// Open as long as the program runs: /dev may move away.
    file: File,
    /// A screen, where a line of progress overwrites the one before.
    screen: bool,
}

impl Console {
    /// Opens every console in /proc/consoles, or /dev/console where that tells none. A `verbose` one
    /// shows what otherwise is only logged.
    pub fn open(verbose: bool) -> Self {
        let names = std::fs::read_to_string("/proc/consoles").unwrap_or_default();
        let mut outputs: Vec<Output> = console_names(&names)
            .filter_map(|name| Output::open(&format!("/dev/{name}"), is_screen(name)))
            .collect();
        if outputs.is_empty() {
            outputs.extend(Output::open("/dev/console", false));
        }
        let log = OpenOptions::new().write(true).open("/dev/kmsg").ok();
        Self {
            outputs,
            log: log.map(Mutex::new),
            verbose,
            pace: Mutex::default(),
        }
    }

    /// Tells a file what would be told.
    #[cfg(test)]
    pub(crate) fn to_file(file: File) -> Self {
        Self {
            outputs: vec![Output {
                file,
                screen: false,
            }],
            log: None,
            verbose: false,
            pace: Mutex::default(),
        }
    }

    /// Says one line.
    pub fn say(&self, line: &str) {
        self.show(line);
        self.write_log(line);
    }

    /// Has a splash screen give the screen and the keyboard back, for what a person must see and answer.
    pub fn take_screen(&self) {
        if !Path::new(SPLASH).exists() {
            return;
        }
        let Ok(mut quit) = Command::new("plymouth").arg("quit").spawn() else {
            return;
        };
        // Where it does not answer, the other consoles still have the words.
        let end = Instant::now() + SPLASH_ANSWERS;
        while matches!(quit.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                self.log("plymouth does not answer");
                // It has ended by itself, or now.
                let _ = quit.kill();
            }
            std::thread::sleep(POLL);
        }
    }

    /// Writes one line to the kernel's log only, at a level that consoles do not show.
    pub fn log(&self, line: &str) {
        if self.verbose {
            self.show(line);
        }
        self.write_log(line);
    }

    fn show(&self, line: &str) {
        for output in &self.outputs {
            let clear = if output.screen { "\r\x1b[K" } else { "" };
            output.write(&format!("{clear}ramforge: {line}\r\n"));
        }
    }

    fn write_log(&self, line: &str) {
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            // The log is for later; where it cannot be had the consoles have said it.
            let _ = log.write_all(format!("<7>ramforge: {line}\n").as_bytes());
        }
    }

    /// Says where the work stands, at most once a second: on a screen one line with a bar, elsewhere a line each time.
    /// `work` is only asked for when it is time.
    pub fn progress(&self, work: impl FnOnce() -> Progress) {
        let Ok(mut pace) = self.pace.try_lock() else {
            return;
        };
        let now = Instant::now();
        let since = *pace.last.get_or_insert(now);
        if now - since < PACE {
            return;
        }
        pace.last = Some(now);
        let work = work();
        let is_told = work.idle < STANDSTILL || pace.still.is_none_or(|at| now - at >= REMINDER);
        match work.idle < STANDSTILL {
            true => pace.still = None,
            false if is_told => pace.still = Some(now),
            false => (),
        }
        for output in self.outputs.iter().filter(|o| o.screen || is_told) {
            let text = if output.screen {
                format!("\r\x1b[Kramforge: {} {work}", work.bar())
            } else {
                format!("ramforge: {work}\r\n")
            };
            output.write(&text);
        }
    }

    /// Waits for a line on any console. What was typed before counts as well as it can be had: a terminal gives whole
    /// lines. `meanwhile` is done every second.
    pub fn read_line(&self, mut meanwhile: impl FnMut()) -> String {
        let mut last = Instant::now();
        loop {
            if last.elapsed() >= PACE {
                meanwhile();
                last = Instant::now();
            }
            for output in &self.outputs {
                let mut line = [0; LINE];
                if let Ok(n @ 1..) = (&output.file).read(&mut line) {
                    return String::from_utf8_lossy(&line[..n]).into_owned();
                }
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Output {
    fn open(path: &str, screen: bool) -> Option<Self> {
        let flags = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
        let open = |read| {
            OpenOptions::new()
                .read(read)
                .write(true)
                .custom_flags(flags.bits().cast_signed())
                .open(Path::new(path))
        };
        // One that cannot be read can still tell.
        let file = open(true).or_else(|_| open(false)).ok()?;
        Some(Self { file, screen })
    }

    /// Writes what the console takes; a console that takes nothing must not stop a boot.
    fn write(&self, text: &str) {
        let mut rest = text.as_bytes();
        let end = Instant::now() + PATIENCE;
        while !rest.is_empty() && Instant::now() < end {
            match (&self.file).write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => (),
                Err(_) => return,
            }
        }
    }
}

/// The devices in the text of /proc/consoles.
fn console_names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split_ascii_whitespace().next())
}

/// Whether a console is a virtual terminal.
fn is_screen(name: &str) -> bool {
    name.strip_prefix("tty")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// How far the work is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Bytes that are done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Since the work began.
    pub time: Duration,
    /// Since the last bytes were done.
    pub idle: Duration,
}

impl Progress {
    /// A bar between brackets.
    fn bar(&self) -> String {
        let full = (self.done * CELLS).checked_div(self.total).unwrap_or(CELLS);
        let full = full.min(CELLS) as usize;
        format!(
            "[{}{}]",
            "#".repeat(full),
            "-".repeat(CELLS as usize - full)
        )
    }
}

impl fmt::Display for Progress {
    /// Share, rate and time left, or for how long nothing was done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        let Self {
            done,
            total,
            time,
            idle,
        } = *self;
        if idle >= STANDSTILL {
            let share = (done * 100).checked_div(total).unwrap_or(100);
            let (total, idle) = (total >> 20, idle.as_secs());
            return write!(f, "{share:3} % of {total} MiB, nothing done for {idle} s");
        }
        let rate = done as f64 / time.as_secs_f64().max(0.001);
        let left = (total.saturating_sub(done)) as f64 / rate.max(1.0);
        write!(
            f,
            "{:3} % of {} MiB, {:.0} MiB/s, {:.0} s left",
            (done * 100).checked_div(total).unwrap_or(100),
            total >> 20,
            rate / MIB,
            left.ceil()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_are_found() {
        let text =
            "ttyS0                -W- (EC p a)    4:64\ntty0                 -WU (E     )    4:1\n";
        assert_eq!(console_names(text).collect::<Vec<_>>(), ["ttyS0", "tty0"]);
        assert!(
            is_screen("tty0") && !is_screen("ttyS0") && !is_screen("tty") && !is_screen("hvc0")
        );
    }

    #[test]
    fn progress_has_a_bar_a_rate_and_the_time_left() {
        let progress = |done, total, seconds| Progress {
            done,
            total,
            time: Duration::from_secs(seconds),
            idle: Duration::ZERO,
        };
        let quarter = progress(100 << 20, 400 << 20, 2);
        assert_eq!(quarter.to_string(), " 25 % of 400 MiB, 50 MiB/s, 6 s left");
        assert_eq!(quarter.bar(), "[######------------------]");
        let nothing = progress(0, 0, 0);
        assert_eq!(nothing.to_string(), "100 % of 0 MiB, 0 MiB/s, 0 s left");
        assert_eq!(nothing.bar(), "[########################]");
        assert_eq!(progress(9, 1, 1).bar(), nothing.bar());
        let idle = Progress {
            idle: Duration::from_secs(12),
            ..quarter
        };
        assert_eq!(idle.to_string(), " 25 % of 400 MiB, nothing done for 12 s");
    }
}

//! A QEMU that boots nothing and says on the serial line what a machine would: for tests of what is asked of machines.
//!
//! `PRETEND_LEAST` is the least RAM in MiB with which it comes up; with less it says what it lacks. `PRETEND_FIGURES` is the
//! file of what is read inside; `PRETEND_BOOTS` the file that has the RAM of every machine that was started, a line each. With `PRETEND_SILENT` it says nothing.
//! Where there is `PRETEND_MEDIUM`, it becomes a copy of the medium.
//! *Not here:* a monitor; where its socket should be nobody answers.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, Write, stdin, stdout};
use std::os::unix::net::UnixListener;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|word| word == "--version") {
        println!("QEMU emulator version 9.0.0");
        return Ok(());
    }
    let behind = |name: &str| {
        let at = words.iter().position(|word| word == name);
        let word = at.and_then(|at| words.get(at + 1));
        word.ok_or(format!("{name} is missing"))
    };
    let ram: u64 = behind("-m")?.parse()?;
    let mut boots = OpenOptions::new()
        .create(true)
        .append(true)
        .open(std::env::var("PRETEND_BOOTS")?)?;
    writeln!(boots, "{ram}")?;
    if let Ok(copy) = std::env::var("PRETEND_MEDIUM") {
        let (_, medium) = behind("-drive")?.split_once(",file=").unwrap_or_default();
        fs::copy(medium, copy)?;
    }
    let socket = behind("-qmp")?.split([':', ',']).nth(1).unwrap_or("");
    let monitor = UnixListener::bind(socket)?;
    std::thread::spawn(move || monitor.incoming().for_each(drop));
    let least: u64 = std::env::var("PRETEND_LEAST")?.parse()?;
    match least.checked_sub(ram) {
        _ if std::env::var_os("PRETEND_SILENT").is_some() => {
            stdin().lock().lines().for_each(drop);
            Ok(())
        }
        None | Some(0) => inside(),
        Some(_) => refused(ram, least),
    }
}

/// What ram-deploy says of a machine that is too small.
fn refused(ram: u64, least: u64) -> Result<(), Box<dyn Error>> {
    say(&format!(
        "ramforge: STOPPED: too little RAM: the image in RAM (brd) needs {least} MiB available, this machine has {ram} MiB; add more\n"
    ))?;
    stdin().lock().lines().for_each(drop);
    Ok(())
}

/// A login prompt, and a shell that answers what is asked inside.
fn inside() -> Result<(), Box<dyn Error>> {
    say("debian login: ")?;
    for line in stdin().lock().lines() {
        let line = line?;
        let number = line
            .strip_prefix("echo BEG''IN-")
            .and_then(|rest| rest.split(';').next());
        match number {
            Some(n) if line.contains("meminfo") => {
                let figures = fs::read_to_string(std::env::var("PRETEND_FIGURES")?)?;
                say(&format!("BEGIN-{n}\n{figures}\nEND-{n} 0\n"))?;
            }
            Some(n) => say(&format!("BEGIN-{n}\n\nEND-{n} 0\n"))?,
            None if line == "root" => say("Password: ")?,
            None if line.contains("IN''SIDE") => say("INSIDE\n# ")?,
            None => {}
        }
    }
    Ok(())
}

fn say(text: &str) -> std::io::Result<()> {
    let mut line = stdout().lock();
    line.write_all(text.as_bytes())?;
    line.flush()
}

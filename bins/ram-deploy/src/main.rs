//! Runs in an initramfs, before the root is mounted. Four modes:
//!
//! * `ram-deploy deploy`: finds the medium, verifies it and writes its image into RAM. A failure is
//!   said on every console, and the program does not end then: the boot stops.
//! * as process 1, `/init`: does the same, then mounts the root and hands over to its init; see
//!   [`ram_deploy::init`].
//! * `ram-deploy ended`: `deploy` has ended, and systemd says how in the environment. Where it was killed this is
//!   a failure like any other.
//! * `ram-deploy grow`: grows the root of the disk that the image was written to by hand. A failure is
//!   said, and the boot goes on.
//!
//! Statically linked. Needs /proc, /sys, /dev and a writable /run, and root.

use std::process::ExitCode;

use ram_deploy::cmdline::Cmdline;
use ram_deploy::console::Console;
use ram_deploy::{Stop, policy, run};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        speak_of_faults();
        ram_deploy::init::main();
    }
    match std::env::args().nth(1).as_deref() {
        Some("deploy") => deploy(),
        Some("ended") => ended(),
        Some("grow") => grow(),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: ram-deploy deploy|ended|grow (in an initramfs)");
    ExitCode::from(2)
}

/// A panic aborts; no console may stay silent about it.
fn speak_of_faults() {
    std::panic::set_hook(Box::new(|info| {
        let cmdline = Cmdline::of_kernel().unwrap_or_default();
        policy::stop(&fault(info), &cmdline, &Console::open(false));
    }));
}

fn deploy() -> ExitCode {
    speak_of_faults();
    let cmdline = match Cmdline::of_kernel() {
        Ok(cmdline) => cmdline,
        Err(stop) => policy::stop(&stop, &Cmdline::default(), &Console::open(false)),
    };
    let console = Console::open(cmdline.switch("rd.kiwi.debug"));
    policy::insist(&cmdline, &console, || run::deploy(&cmdline, &console));
    ExitCode::SUCCESS
}

/// What systemd.exec(5) sets for `ExecStopPost=`: `success` too where the unit is stopped on the way to the root, and for a
/// oneshot unit TERM where somebody stops it before.
fn ended() -> ExitCode {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let (result, status) = (variable("SERVICE_RESULT"), variable("EXIT_STATUS"));
    match (result.as_str(), status.as_str()) {
        ("", _) => return usage(),
        // Somebody ends the unit, or the machine.
        ("success", _) | (_, "TERM" | "HUP" | "INT") => return ExitCode::SUCCESS,
        _ => (),
    }
    let how = match status.as_str() {
        "" => result,
        status => format!("{} {status}", variable("EXIT_CODE")),
    };
    let fact = format!("ram-deploy did not end its work: {how}");
    let way_out = match status.as_str() {
        // Rust's own end where memory cannot be had is ABRT.
        "KILL" | "ABRT" => {
            "this is most often too little RAM: add RAM, and report it where there is enough"
        }
        _ => "report it with this line",
    };
    let cmdline = Cmdline::of_kernel().unwrap_or_default();
    policy::stop(&Stop::new(fact, way_out), &cmdline, &Console::open(false))
}

/// Whatever happens, the boot goes on: the disk holds a whole system without being grown.
fn grow() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        warn(&fault(info), &Console::open(false));
        std::process::exit(0);
    }));
    match Cmdline::of_kernel() {
        Err(stop) => warn(&stop, &Console::open(false)),
        Ok(cmdline) => {
            let console = Console::open(cmdline.switch("rd.kiwi.debug"));
            if let Err(stop) = run::grow_own_disk(&cmdline, &console) {
                warn(&stop, &console);
            }
        }
    }
    ExitCode::SUCCESS
}

fn fault(info: &std::panic::PanicHookInfo<'_>) -> Stop {
    let fact = format!("ram-deploy met a fault of its own: {info}");
    Stop::new(fact, "report it with this line")
}

fn warn(stop: &Stop, console: &Console) {
    console.say(&format!("warning: {stop}"));
}

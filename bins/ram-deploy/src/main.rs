//! Runs in an initramfs, before the root is mounted. Two modes:
//!
//! * `ram-deploy deploy`: finds the medium, verifies it and writes its image into RAM. A failure is
//!   said on every console, and the program does not end then: the boot stops.
//! * `ram-deploy grow`: grows the root of the disk that the image was written to by hand. A failure is
//!   said, and the boot goes on.
//!
//! Statically linked. Needs /proc, /sys, /dev and a writable /run, and root.

use std::process::ExitCode;

use ram_deploy::cmdline::Cmdline;
use ram_deploy::console::Console;
use ram_deploy::{Stop, policy, run};

fn main() -> ExitCode {
    // A panic aborts; no console may stay silent about it.
    std::panic::set_hook(Box::new(|info| {
        let fact = format!("ram-deploy met a fault of its own: {info}");
        let stop = Stop::new(fact, "report it with this line");
        policy::stop(&stop, &Cmdline::default(), &Console::open(false));
    }));
    let mode = std::env::args().nth(1);
    let cmdline = match Cmdline::of_kernel() {
        Ok(cmdline) => cmdline,
        Err(stop) => policy::stop(&stop, &Cmdline::default(), &Console::open(false)),
    };
    let console = Console::open(cmdline.switch("rd.kiwi.debug"));
    match mode.as_deref() {
        Some("deploy") => match run::deploy(&cmdline, &console) {
            Ok(()) => ExitCode::SUCCESS,
            Err(stop) => policy::stop(&stop, &cmdline, &console),
        },
        Some("grow") => {
            if let Err(stop) = run::grow_own_disk(&cmdline, &console) {
                console.say(&format!("warning: {stop}"));
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: ram-deploy deploy|grow (in an initramfs)");
            ExitCode::from(2)
        }
    }
}

//! The command line of a stage: its own options, and those that all stages have.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};

use crate::exit::Exit;

/// The options that every stage with an input has.
#[derive(Default)]
pub(crate) struct Own {
    /// `--manifest`: what is read instead of stdin.
    pub(crate) manifest: Option<PathBuf>,
    /// `--key`: only the key is asked for.
    pub(crate) key: bool,
}

impl Own {
    fn declare(command: Command) -> Command {
        let file = clap::Arg::new("manifest")
            .long("manifest")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read the manifest from FILE instead of stdin");
        let key = clap::Arg::new("key")
            .long("key")
            .action(clap::ArgAction::SetTrue)
            .help("Print the stage key and what it is made of as JSON, and do nothing else");
        command.arg(file).arg(key)
    }

    fn from(matches: &clap::ArgMatches) -> Self {
        Self {
            manifest: matches.get_one("manifest").cloned(),
            key: matches.get_flag("key"),
        }
    }
}

/// Reads the command line. Usage errors, `--help` and `--version` end here.
pub(crate) fn arguments<O: Args>(
    name: &'static str,
    about: &'static str,
    program: &'static str,
    reads: bool,
) -> std::result::Result<(O, Own), ExitCode> {
    let mut command = Command::new(name).version(program).max_term_width(100);
    if reads {
        command = Own::declare(command);
    }
    let command = O::augment_args(command).about(about).long_about(None).after_help(
        "The manifest goes to stdout, everything for people to stderr.\n\
         Exit codes: 0 done, 1 failed, 2 usage, 3 manifest or description refused, 4 negative verdict,\n\
         5 a privilege or host program is missing, 6 the store is damaged, 130 interrupted.",
    );
    let parsed = command.try_get_matches().and_then(|matches| {
        let own = match reads {
            true => Own::from(&matches),
            false => Own::default(),
        };
        Ok((O::from_arg_matches(&matches)?, own))
    });
    parsed.map_err(|error| {
        // A closed stdout is no failure of --help.
        let _ = error.print();
        if error.use_stderr() {
            Exit::Usage.into()
        } else {
            Exit::Done.into()
        }
    })
}

//! Where the stages find the static program that they put into an initramfs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Names another file than the one beside the running program.
pub const VARIABLE: &str = "RAMFORGE_RAM_DEPLOY";
const NAME: &str = "ram-deploy";
/// Where `make build` leaves it, from the directory of the stages' own programs.
const BUILT: &str = "../x86_64-unknown-linux-gnu/ramdeploy/ram-deploy";
/// Type of a program header that asks for a dynamic loader (`PT_INTERP`).
const PT_INTERP: u32 = 3;

/// What is wrong with the search, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The fact.
    pub fact: String,
    /// What to do.
    pub advice: String,
}

/// The bytes of the static `ram-deploy`.
///
/// # Errors
/// Where none is found, or only one that needs shared libraries, which an initramfs may not have.
pub fn load() -> Result<Vec<u8>, Missing> {
    let advice = format!("run `make build`, or set {VARIABLE} to a statically linked {NAME}");
    let missing = |fact: String| Missing {
        fact,
        advice: advice.clone(),
    };
    let mut dynamic = None;
    for path in candidates() {
        match fs::read(&path) {
            Ok(bytes) if is_static(&bytes) => return Ok(bytes),
            Ok(_) => dynamic = Some(path),
            Err(_) => (),
        }
    }
    Err(match dynamic {
        Some(path) => missing(format!("{} is no static x86-64 program", path.display())),
        None => missing(format!("the static program {NAME} is not beside this one")),
    })
}

fn candidates() -> Vec<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE) {
        return vec![path.into()];
    }
    let own = env::current_exe().and_then(fs::canonicalize);
    let dir = own.ok().and_then(|path| Some(path.parent()?.to_owned()));
    let beside = |dir: &Path| [dir.join(BUILT), dir.join(NAME)];
    dir.iter().flat_map(|dir| beside(dir)).collect()
}

/// Whether these are the bytes of a 64-bit little-endian ELF program without a dynamic loader.
fn is_static(elf: &[u8]) -> bool {
    let le = |at: usize, n: usize| -> Option<u64> {
        let bytes = elf.get(at..at + n)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |sum, b| sum << 8 | u64::from(*b)),
        )
    };
    let headers = || -> Option<bool> {
        let offset = le(32, 8)? as usize; //  e_phoff
        let size = le(54, 2)? as usize; //    e_phentsize
        let count = le(56, 2)? as usize; //   e_phnum
        let loader =
            (0..count).any(|n| le(offset.saturating_add(n * size), 4) == Some(PT_INTERP.into()));
        Some(count > 0 && !loader)
    };
    elf.starts_with(b"\x7fELF\x02\x01") && headers() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let dynamic = fs::read("/bin/sh").unwrap();
        assert!(!is_static(&dynamic));
        let mut fixed = dynamic.clone();
        let offset = u64::from_le_bytes(dynamic[32..40].try_into().unwrap()) as usize;
        let (size, count) = (56, usize::from(dynamic[56]));
        for header in fixed[offset..offset + size * count].chunks_mut(size) {
            if header[0] == 3 {
                header[0] = 0;
            }
        }
        assert!(is_static(&fixed));
        assert!(!is_static(b"#!/bin/sh\n") && !is_static(b"\x7fELF\x02\x01"));
    }
}

//! The pipeline as a program among programs: what it does twice, with bad input, and without its tools.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use journal::Event;
use pipeline_tests::{command, events, example, isolated, root, run, scratch, store, text};
use serde_json::json;

/// The stages that read a manifest, and the section that each needs first.
const STAGES: [&str; 5] = [
    "rootfs-assemble",
    "raw-image",
    "initrd-inject",
    "iso-pack",
    "ram-check",
];

fn stage(name: &str) -> Command {
    let mut command = command(root().join("target/release").join(name));
    command.env("RAMFORGE_STORE", store());
    command
}

fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses early need not read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn manifest_line() -> Vec<u8> {
    std::fs::read(example("debian-vm").dir.join("manifest.json")).unwrap()
}

/// A refusal: its exit code, its message, nothing on stdout and no panic.
fn refuses(name: &str, input: &[u8], expected: &[&str]) {
    let output = fed(&mut stage(name), input);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{name}: {said}");
    assert!(output.stdout.is_empty(), "{name}: {said}");
    assert!(
        said.starts_with(&format!("{name}: error: ")) && !said.contains("panicked"),
        "{said}"
    );
    for part in expected {
        assert!(said.contains(part), "{name}: no {part:?} in {said}");
    }
}

#[test]
fn the_second_run_only_reads() {
    let first = example("debian-vm");
    let scratch = scratch();
    // A name of its own makes this run's journal easy to find.
    let description = scratch.path().join("description");
    std::os::unix::fs::symlink(root().join("examples/debian-vm"), &description).unwrap();
    let out = scratch.path().join("out");
    let output = command(root().join("pipeline.sh"))
        .env("RAMFORGE_STORE", store())
        .arg("-o")
        .args([&out, &description])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let again = std::fs::read(out.join("manifest.json")).unwrap();
    assert!(
        again == std::fs::read(first.dir.join("manifest.json")).unwrap(),
        "another manifest"
    );
    for file in [&first.iso, &first.raw, &first.packages] {
        run("cmp", &[file, &out.join(file.file_name().unwrap())]);
    }
    let events = events(&store(), &description.to_string_lossy());
    let hits = events
        .iter()
        .filter(|e| matches!(e, Event::CacheHit { .. }))
        .count();
    assert_eq!(hits, STAGES.len(), "{events:?}");
    let work = events.iter().find(|e| {
        matches!(
            e,
            Event::CommandRun { .. }
                | Event::ObjectStored { .. }
                | Event::PartFinished { .. }
                | Event::Warning { .. }
        )
    });
    assert_eq!(work, None);
}

#[test]
fn garbage_is_refused_by_every_stage() {
    for name in STAGES {
        refuses(name, b"", &["the input is empty"]);
        refuses(name, b"garbage\n", &["not JSON at line 1, column 1"]);
        refuses(name, b"\xff\xfe\x00", &["not UTF-8"]);
        refuses(name, b"[1,2]", &["no object"]);
        refuses(
            name,
            b"{\"ramforge\":1}",
            &["section \"plan\" is missing", "run desc-parse"],
        );
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        refuses(name, &deep, &["manifest: "]);
    }
}

#[test]
fn a_manifest_from_a_newer_version_is_refused_with_its_writer() {
    for name in STAGES {
        refuses(name, b"{\"ramforge\":2}", &["version 2", "same release"]);
        let newer =
            json!({"ramforge": 1, "plan": {"format": 99, "by": "desc-parse 9.9", "future": true}});
        refuses(
            name,
            newer.to_string().as_bytes(),
            &["format 99", "desc-parse 9.9"],
        );
    }
}

#[test]
fn a_misspelt_field_is_refused_by_every_stage() {
    let line = String::from_utf8(manifest_line()).unwrap();
    for name in STAGES {
        let misspelt = line.replacen("\"kernelcmdline\"", "\"kernelcmdlien\"", 1);
        refuses(name, misspelt.as_bytes(), &["kernelcmdlien"]);
    }
}

#[test]
fn a_closed_pipe_downstream_is_no_failure() {
    let line = manifest_line();
    for name in STAGES {
        let mut child = stage(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        child.stdin.take().unwrap().write_all(&line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
    }
}

#[test]
fn unknown_sections_pass_through_every_stage() {
    let mut value: serde_json::Value = serde_json::from_slice(&manifest_line()).unwrap();
    value["mine"] = json!({"kept": ["as", "it", 1]});
    let line = value.to_string();
    for name in STAGES {
        let output = fed(&mut stage(name), line.as_bytes());
        assert!(output.status.success(), "{name}: {}", text(&output));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["mine"], value["mine"], "{name}");
    }
}

/// A program that is not there: what is hidden, who needs it, the package that brings it.
#[test]
fn a_missing_host_program_is_named_with_its_package() {
    let manifest = example("debian-vm").dir.join("manifest.json");
    for (program, stage, package) in [
        ("apt-get", "rootfs-assemble", "apt-get install apt"),
        ("grub-mkimage", "raw-image", "apt-get install grub-common"),
        ("grub-mkimage", "iso-pack", "apt-get install grub-common"),
        (
            "qemu-system-x86_64",
            "ram-check --boot",
            "apt-get install qemu-system-x86",
        ),
    ] {
        let hidden = pipeline_tests::program(program);
        let script = format!(
            "mount --bind /dev/null {} && exec {}/{stage} --manifest {}",
            hidden.display(),
            root().join("target/release").display(),
            manifest.display()
        );
        // /usr may be merged: then both names are one file.
        let output = isolated(&script)
            .env("RAMFORGE_STORE", store())
            .output()
            .unwrap();
        let said = text(&output);
        assert_eq!(
            output.status.code(),
            Some(5),
            "{stage} without {program}: {said}"
        );
        assert!(
            said.contains(&format!("not found: {program}")) && said.contains(package),
            "{said}"
        );
    }
}

/// A QEMU that is too old: its version, the one that is wanted, the package that brings it.
#[test]
fn an_old_qemu_is_named_with_both_versions() {
    let manifest = example("debian-vm").dir.join("manifest.json");
    let scratch = scratch();
    let old = scratch.path().join("qemu-system-x86_64");
    std::fs::write(
        &old,
        "#!/bin/sh\necho 'QEMU emulator version 4.2.1 (old)'\n",
    )
    .unwrap();
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = stage("ram-check")
        .args(["--boot", "--manifest"])
        .arg(&manifest)
        .env("PATH", format!("{}:{path}", scratch.path().display()))
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains("qemu-system-x86_64 4.2 is too old; expected 5.2 or newer")
            && said.contains("apt-get install qemu-system-x86"),
        "{said}"
    );
}

/// A stage that cannot work says so at once, and those before it stop: nobody would read what they make.
#[test]
fn a_late_stage_that_fails_stops_the_early_ones() {
    example("debian-vm");
    let scratch = scratch();
    let store = scratch.path().join("store");
    let script = format!(
        "mount --bind /dev/null {} && exec {root}/pipeline.sh -o {} {root}/examples/debian-vm",
        pipeline_tests::program("grub-mkimage").display(),
        scratch.path().join("out").display(),
        root = root().display(),
    );
    let output = isolated(&script)
        .env("RAMFORGE_STORE", &store)
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("not found: grub-mkimage"), "{said}");
    let description = root().join("examples/debian-vm").display().to_string();
    let of_rootfs: Vec<_> = events(&store, &description)
        .into_iter()
        .filter(|e| match e {
            Event::Interrupted { stage } | Event::StageFinished { stage, .. } => {
                stage == "rootfs-assemble"
            }
            _ => false,
        })
        .collect();
    assert!(
        matches!(of_rootfs[..], [] | [Event::Interrupted { .. }]),
        "{of_rootfs:?}: {said}"
    );
}

#[test]
fn the_firmware_for_a_uefi_proof_is_named_with_its_package() {
    let manifest = example("debian-vm").dir.join("manifest.json");
    let (code, _) = ram_check::qemu::find_ovmf().unwrap();
    let script = format!(
        "mount -t tmpfs none {} && exec {}/ram-check --boot --firmware uefi --manifest {}",
        code.parent().unwrap().display(),
        root().join("target/release").display(),
        manifest.display()
    );
    let output = isolated(&script)
        .env("RAMFORGE_STORE", store())
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("apt-get install ovmf"), "{said}");
}

/// ram-check's answer: yes with the least, no with a mebibyte less; the manifest is written both times.
#[test]
fn the_verdict_is_an_exit_code() {
    let vm = example("debian-vm");
    let ask = |ram: u64| {
        let output = fed(
            stage("ram-check").args(["--ram", &format!("{ram}M")]),
            &manifest_line(),
        );
        let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            output.status.code(),
            manifest["verdict"]["ok"].as_bool(),
            text(&output),
        )
    };
    let least = vm.least_ram_mib();
    let (code, ok, said) = ask(least);
    assert_eq!((code, ok), (Some(0), Some(true)), "{said}");
    assert!(
        said.contains("ram-check: warning: the root may take 2000 MiB of RAM (brd, "),
        "{said}"
    );
    let (code, ok, said) = ask(least - 1);
    assert_eq!((code, ok), (Some(4), Some(false)), "{said}");
    assert!(
        said.contains("does not fit") && said.contains(&format!("{least} MiB")),
        "{said}"
    );
}

/// A list of machines: one that does not do is exit code 4, and a mistake in the list is a usage error with its place.
#[test]
fn a_list_of_machines_is_judged_at_once() {
    let least = example("debian-vm").least_ram_mib();
    let scratch = scratch();
    let list = scratch.path().join("machines");
    let ask = |text: &str| {
        std::fs::write(&list, text).unwrap();
        fed(
            stage("ram-check").arg("--machines").arg(&list),
            &manifest_line(),
        )
    };
    let large = format!("large {least}M\n");
    assert_eq!(ask(&large).status.code(), Some(0));
    let output = ask(&format!("{large}# old ones\nsmall 64M\n"));
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ok = |n: usize| manifest["verdict"]["machines"][n]["ok"].as_bool();
    assert_eq!((ok(0), ok(1)), (Some(true), Some(false)));
    let output = ask("small 64k\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("machines:1:7: \"64k\": expected"));
}

/// examples/gate releases what fits into every machine of its list, and nothing else.
#[test]
fn the_gate_refuses_an_image_that_leaves_too_little() {
    let least = example("debian-vm").least_ram_mib();
    let scratch = scratch();
    let path = |name: &str| scratch.path().join(name);
    let make = |list: &str| {
        std::fs::write(path("machines"), list).unwrap();
        let set = |name: &str, file: &str| format!("{name}={}", path(file).display());
        let output = command("make")
            .env("RAMFORGE_STORE", store())
            .arg("-C")
            .arg(root().join("examples/gate"))
            .args([
                set("MACHINES", "machines"),
                set("OUT", "out"),
                set("RELEASE", "release"),
            ])
            .output()
            .unwrap();
        (output.status.code(), text(&output))
    };
    let (code, said) = make(&format!("large {}\nsmall {least} 2G\n", 4 * least));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("1 of 2 of the list are too small: small"),
        "{said}"
    );
    assert!(path("out/ram.svg").exists() && !path("release").exists());
    // As earlier versions that were refused, and an earlier release.
    std::fs::write(path("out/refused.install.iso"), "").unwrap();
    std::fs::create_dir(path("release")).unwrap();
    std::fs::write(path("release/earlier.install.iso"), "").unwrap();
    let (code, said) = make(&format!("large {}\nsmall {least}\n", 4 * least));
    assert_eq!(code, Some(0), "{said}");
    assert!(path("release/manifest.json").exists());
    assert_eq!(std::fs::read_dir(path("release")).unwrap().count(), 2);
    assert!(!path("release/refused.install.iso").exists());
    assert!(path("release.before/earlier.install.iso").exists());
}

#[test]
fn every_program_has_help_and_a_version() {
    for name in STAGES.iter().chain(&["desc-parse", "ramforge"]) {
        let output = stage(name).arg("--help").output().unwrap();
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{name}"
        );
        let version = text(&stage(name).arg("--version").output().unwrap());
        assert!(
            version.starts_with(&format!("{name} ")),
            "{name}: {version:?}"
        );
        let output = stage(name)
            .arg("--no-such-option")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
    }
}

//! Repositories that cannot be used, and packages that are not there: what the user is told.

#![allow(clippy::unwrap_used, clippy::panic)]

mod place;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use place::{Place, manifest};

#[test]
fn an_unsigned_repository_is_named_with_the_way_out() {
    let place = Place::new();
    let (code, said) = place.assemble(&place.repository(&[]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("repository local (dir://"), "{said}");
    assert!(said.contains("it is not signed"), "{said}");
    assert!(said.contains("repository_gpgcheck=\"false\""), "{said}");
}

#[test]
fn a_key_that_is_not_known_is_told_from_a_wrong_signature() {
    let place = Place::new();
    let other = place.put(&place.key("other"));
    place.key("signer");
    place.sign("signer");
    let (code, said) = place.assemble(&place.repository(&[other]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("a key that is not known here"), "{said}");
    assert!(said.contains("<signing key="), "{said}");
}

#[test]
fn a_wrong_signature_is_told() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let signed = place.path("repo/InRelease");
    let text = fs::read_to_string(&signed).unwrap();
    fs::write(&signed, text.replace("Suite: test", "Suite: tess")).unwrap();
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("its signature or a checksum is wrong"),
        "{said}"
    );
}

#[test]
fn metadata_that_is_not_what_was_signed_is_told() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let mut packages = fs::read(place.path("repo/Packages")).unwrap();
    packages[0] ^= 1;
    fs::write(place.path("repo/Packages"), packages).unwrap();
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("its signature or a checksum is wrong"),
        "{said}"
    );
}

#[test]
fn an_unreachable_repository_is_told() {
    let place = Place::new();
    let mut repository = place.repository(&[]);
    // Nobody listens on the discard port.
    repository["uri"] = json!("http://127.0.0.1:9/debian");
    repository["distribution"] = json!("stable");
    let (code, said) = place.assemble(&repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("repository local (http://127.0.0.1:9/debian): it cannot be reached"),
        "{said}"
    );
    repository["uri"] = json!("dir:///no/such/directory");
    let (code, said) = place.assemble(&repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("there is no directory /no/such/directory"),
        "{said}"
    );
}

#[test]
fn a_package_that_does_not_exist_is_named_with_its_place() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool", "nosuch"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("appliance.kiwi:7:5: the repositories have no package nosuch"),
        "{said}"
    );
}

#[test]
fn a_package_that_is_not_what_the_metadata_says_is_not_used() {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    let deb = place.path("repo/tool_1_all.deb");
    let mut bytes = fs::read(&deb).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&deb, bytes).unwrap();
    let (code, said) = place.assemble(&place.repository(&[key]), &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("package tool"), "{said}");
}

#[test]
fn other_package_managers_and_architectures_are_refused() {
    let place = Place::new();
    let repository = place.repository(&[]);
    let mut bad = manifest(&repository, &[]);
    bad["plan"]["package_manager"] = json!("zypper");
    let output = feed(&place, &bad);
    assert!(output.contains("expected apt"), "{output}");
    bad["plan"]["package_manager"] = json!("apt");
    bad["plan"]["arch"] = json!("s390x");
    let output = feed(&place, &bad);
    assert!(output.contains("the image is for s390x"), "{output}");
}

fn feed(place: &Place, manifest: &Value) -> String {
    let file = place.path("manifest.json");
    fs::write(&file, manifest.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rootfs-assemble"))
        .env("RAMFORGE_STORE", place.path("store"))
        .arg("--manifest")
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

//! A Debian binary package, deb(5): an ar archive of three members.
//!
//! ```text
//! debian-binary            "2.0\n"
//! control.tar[.gz|.xz|.zst]  control, md5sums, maintainer scripts, …
//! data.tar[.gz|.xz|.zst]     the files
//! ```
//!
//! *Not read:* members compressed with bzip2 or lzma (no longer allowed in archives), and members whose
//! names begin with `_` between the three (skipped, as the format asks).

mod ar;
pub mod control;
mod plain;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use stage::{At, Error, Result};

use control::Paragraph;
pub use plain::write_plain;

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

/// What `control.tar` holds.
#[derive(Debug)]
pub struct Control {
    /// The paragraph of the file `control`.
    pub fields: Paragraph,
    /// Every file of the member by name, with its mode.
    pub files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Control {
    /// The text of one of the files.
    pub fn text(&self, name: &str) -> Option<String> {
        let (_, bytes) = self.files.get(name)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// An opened package, positioned before its data member.
pub struct Package {
    /// The control member.
    pub control: Control,
    reader: ar::Reader<BufReader<File>>,
    path: String,
}

impl Package {
    /// Opens a package file and reads its control member.
    ///
    /// # Errors
    /// Exit code 1 where the file is no package; the message names it.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = BufReader::with_capacity(BUFFER, File::open(path).at(path)?);
        let mut reader = ar::Reader::new(file).at(path)?;
        let magic = member(&mut reader, "debian-binary").at(path)?;
        if magic != "debian-binary" {
            return Err(broken(&name, &format!("the first member is {magic:?}")));
        }
        let mut version = String::new();
        reader.read_to_string(&mut version).at(path)?;
        if !version.starts_with("2.") {
            return Err(broken(&name, &format!("format version {version:?}")));
        }
        let member = member(&mut reader, "control.tar").at(path)?;
        let control = read_control(decoder(&member, &mut reader).at(path)?, &name)?;
        Ok(Self {
            control,
            reader,
            path: name,
        })
    }

    /// The data member: a tar archive, decompressed.
    ///
    /// # Errors
    /// Exit code 1 where it is missing or of an unknown compression.
    pub fn data(&mut self) -> Result<Box<dyn Read + '_>> {
        let path = self.path.clone();
        let at = |e: std::io::Error| Error::failed(format!("{path}: {e}"));
        let member = member(&mut self.reader, "data.tar").map_err(at)?;
        decoder(&member, &mut self.reader).map_err(at)
    }
}

/// Goes to the member whose name begins with `prefix`. Members that begin with `_` are skipped.
fn member<R: Read>(reader: &mut ar::Reader<R>, prefix: &str) -> std::io::Result<String> {
    loop {
        match reader.next_member()? {
            Some(name) if name.starts_with('_') => {}
            Some(name) if name.starts_with(prefix) => return Ok(name),
            Some(name) => return Err(invalid(&format!("{name:?} where {prefix} is expected"))),
            None => return Err(invalid(&format!("ends before {prefix}"))),
        }
    }
}

fn decoder<'a>(member: &str, reader: impl Read + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
    match member.rsplit('.').next() {
        Some("tar") => Ok(Box::new(reader)),
        Some("gz") => Ok(Box::new(flate2::read::GzDecoder::new(reader))),
        Some("xz") => {
            // Every byte of the package file was compared with a digest before; its CRC-64 would cost a tenth more.
            let stream = liblzma::stream::Stream::new_stream_decoder(
                u64::MAX,
                liblzma::stream::IGNORE_CHECK,
            )?;
            Ok(Box::new(liblzma::read::XzDecoder::new_stream(
                reader, stream,
            )))
        }
        Some("zst") => Ok(Box::new(zstd::Decoder::new(reader)?)),
        _ => Err(invalid(&format!(
            "{member:?}: expected gz, xz or zst compression"
        ))),
    }
}

fn read_control(reader: impl Read, path: &str) -> Result<Control> {
    let at = |e: std::io::Error| Error::failed(format!("{path}: control.tar: {e}"));
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(at)? {
        let mut entry = entry.map_err(at)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(at)?.display().to_string();
        let mode = entry.header().mode().map_err(at)?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(at)?;
        files.insert(name.trim_start_matches("./").to_owned(), (mode, bytes));
    }
    let text = files
        .get("control")
        .ok_or_else(|| broken(path, "no control file"))?;
    let text = String::from_utf8_lossy(&text.1);
    let fields = Paragraph::parse_all(&text)
        .into_iter()
        .next()
        .ok_or_else(|| broken(path, "an empty control file"))?;
    Ok(Control { fields, files })
}

fn broken(path: &str, fact: &str) -> Error {
    Error::failed(format!("{path}: {fact}; expected a Debian binary package"))
}

fn invalid(fact: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, fact.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// A tar archive of regular files.
    pub(crate) fn tar_of(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, mode, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(*mode);
            header.set_mtime(86400);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn compress(kind: &str, bytes: &[u8]) -> Vec<u8> {
        match kind {
            ".gz" => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            ".xz" => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 1);
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            ".zst" => zstd::encode_all(bytes, 1).unwrap(),
            _ => bytes.to_vec(),
        }
    }

    fn package(kind: &str) -> Vec<u8> {
        deb_of(kind, &tar_of(&[("./usr/share/a", 0o644, b"content")]))
    }

    /// A package with that data archive.
    pub(crate) fn deb_of(kind: &str, data: &[u8]) -> Vec<u8> {
        let control = tar_of(&[
            ("./control", 0o644, b"Package: a\nVersion: 1\n"),
            ("./postinst", 0o755, b"#!/bin/sh\n"),
        ]);
        let mut deb = Vec::new();
        ar::write_magic(&mut deb).unwrap();
        ar::write_member(&mut deb, "debian-binary", b"2.0\n").unwrap();
        let control = compress(kind, &control);
        ar::write_member(&mut deb, &format!("control.tar{kind}"), &control).unwrap();
        let data = compress(kind, data);
        ar::write_member(&mut deb, &format!("data.tar{kind}"), &data).unwrap();
        deb
    }

    fn first_file(package: &mut Package) -> (String, String) {
        let mut archive = tar::Archive::new(package.data().unwrap());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    }

    #[test]
    fn every_allowed_compression_is_read() {
        let dir = tempfile::tempdir().unwrap();
        for kind in ["", ".gz", ".xz", ".zst"] {
            let path = dir.path().join("a.deb");
            std::fs::write(&path, package(kind)).unwrap();
            let mut package = Package::open(&path).unwrap();
            assert_eq!(package.control.fields.get("version"), Some("1"));
            assert_eq!(package.control.files["postinst"].0, 0o755);
            let found = first_file(&mut package);
            assert_eq!(found, ("usr/share/a".into(), "content".into()), "{kind}");
        }
    }

    #[test]
    fn damage_is_an_error_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broken.deb");
        let whole = package(".gz");
        for bytes in [&b"no archive at all"[..], &whole[..100], b""] {
            std::fs::write(&path, bytes).unwrap();
            let error = Package::open(&path).err().unwrap().to_string();
            assert!(error.contains("broken.deb"), "{error}");
        }
    }
}

//! How the segment is compressed: by what the tree's kernel can read.

use std::io::Write;

use flate2::GzBuilder;
use stage::{Error, Result};
use store::Store;
use store::tree::Tree;

use crate::Kernel;
use crate::base::Base;
use crate::kernel::Config;

/// The level for zstd: the next ones take three to six times as long, and save one part in two hundred.
const ZSTD_LEVEL: i32 = 10;

/// A method that kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `CONFIG_RD_ZSTD`.
    Zstd,
    /// `CONFIG_RD_GZIP`.
    Gzip,
    /// None at all.
    Plain,
}

/// The best method that the kernel's configuration names; without one, what the base shows.
///
/// # Errors
/// Those of the store.
pub fn choose(store: &Store, tree: &Tree, kernel: Kernel<'_>, base: &Base) -> Result<Method> {
    Ok(match kernel.config(store, tree)? {
        Some(config) => from_config(&config),
        None if base.has_zstd => Method::Zstd,
        None => Method::Gzip,
    })
}

fn from_config(config: &Config) -> Method {
    if config.has("CONFIG_RD_ZSTD") {
        Method::Zstd
    } else if config.has("CONFIG_RD_GZIP") {
        Method::Gzip
    } else {
        Method::Plain
    }
}

/// Compresses an archive. The same bytes give the same bytes.
///
/// # Errors
/// Exit code 1.
pub(crate) fn pack(method: Method, archive: &[u8]) -> Result<Vec<u8>> {
    let packed = match method {
        Method::Zstd => zstandard(archive),
        Method::Gzip => gzip(archive),
        Method::Plain => Ok(archive.to_vec()),
    };
    packed.map_err(|e| Error::failed(format!("compressing the segment: {e}")))
}

/// With a checksum: the kernel notices damage, and ram-deploy that it did.
fn zstandard(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(archive)
}

fn gzip(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    out.write_all(archive)?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_kernels_configuration_decides() {
        let method = |text: &str| from_config(&Config::new(text));
        assert_eq!(method("CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n"), Method::Zstd);
        assert_eq!(
            method("CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n"),
            Method::Gzip
        );
        assert_eq!(method("CONFIG_RD_ZSTD_X=y\n"), Method::Plain);
    }

    #[test]
    fn packed_archives_read_back() {
        let archive = vec![7u8; 100_000];
        let mut plain = Vec::new();
        let packed = pack(Method::Gzip, &archive).unwrap();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut plain)
            .unwrap();
        assert!(plain == archive && packed.len() < 1000);
        let packed = pack(Method::Zstd, &archive).unwrap();
        assert!(zstd::bulk::decompress(&packed, 100_000).unwrap() == archive);
        // The first byte after the magic number has the flag for a checksum (RFC 8878, 3.1.1.1.1).
        assert_eq!(packed[4] & 4, 4);
        assert!(pack(Method::Plain, &archive).unwrap() == archive);
    }
}

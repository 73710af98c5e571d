//! The root once more as EROFS, for the RAM store of that name: only where the description can choose it.
//!
//! Its chunks stand behind those of the disk in a second map, which is the medium's: one map to verify, one payload.

use image::erofs::{self, Compression, Parameters};
use image::ext4::Node;
use manifest::Erofs;
use ram_deploy::cmdline::Cmdline;
use ram_deploy::store::Kind;
use ram_deploy::store::erofs::version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Context, Error, Result};
use store::Store;
use store::chunk_map::{CHUNK_SIZE, Chunk, ChunkMap};
use store::tree::Tree;

use crate::Input;
use crate::chunker::{Chunked, Chunker};
use crate::initrd;
use crate::layout::Ids;
use crate::root::{self, Added, Root, Sink};

/// The version of what is written. Changelog. 1: the first. 2: a symbolic link lies in one block with its inode.
/// 3: zstd level 15. 4: zstd in pieces of 256 KiB.
pub(crate) const VERSION: u32 = 4;
const _: () = assert!(
    root::VERSION == 3,
    "the nodes are made in another way: raise VERSION"
);
/// The first Linux that reads what is written.
const SINCE: (u32, u32) = (5, 19);
/// What the kernel must have been built with: the format, and what keeps attributes and hard links.
const OPTIONS: [&str; 6] = [
    "CONFIG_EROFS_FS_ZIP",
    "CONFIG_EROFS_FS_XATTR",
    "CONFIG_EROFS_FS_POSIX_ACL",
    "CONFIG_EROFS_FS_SECURITY",
    "CONFIG_TMPFS_XATTR",
    "CONFIG_TMPFS_POSIX_ACL",
];

/// The word of the kernelcmdline that asks for it.
const ASKED: &str = "kernelcmdline: rd.ramforge.store=erofs";
/// What the kernel's overlay takes for notes of its own. Those of `user.overlay.` it passes on: our mount has no `userxattr`.
const OVERLAYS_OWN: &str = "trusted.overlay.";

/// What compresses the image, where one is wanted: where the kernelcmdline says `rd.ramforge.store=erofs`, or `auto` and
/// it can be made and mounted.
///
/// # Errors
/// Exit code 3 where the kernel cannot do what is asked for, or the tree cannot be expressed so.
pub(crate) fn wanted(
    cx: &Context,
    tree: &Tree,
    nodes: &[Node],
    input: &Input,
) -> Result<Option<Compression>> {
    let cmdline = Cmdline::parse(&input.plan.kernelcmdline);
    let kind = Kind::wanted(&cmdline).map_err(|stop| Error::refused(stop.to_string()))?;
    let is_asked = match kind {
        Some(Kind::Erofs) => true,
        Some(_) => return Ok(None),
        None => false,
    };
    let compression = match able(cx.store(), tree, input)? {
        Ok(compression) => compression,
        Err(_) if !is_asked => return Ok(None),
        Err(lack) => return Err(lacking(&lack, input)),
    };
    match odd(nodes) {
        None => Ok(Some(compression)),
        Some(fact) if is_asked => Err(Error::refused(format!("{ASKED}: {fact}"))
            .advice("leave that out of the tree, or choose another RAM store")),
        Some(fact) => {
            cx.warn(&format!("the medium gets no root as EROFS: {fact}"))?;
            Ok(None)
        }
    }
}

fn lacking(lack: &str, input: &Input) -> Error {
    let release = &input.rootfs.kernel.release;
    Error::refused(format!("{ASKED}: the kernel {release} has no {lack}")).advice(
        "choose a kernel package that has it, such as linux-image-amd64, or another RAM store",
    )
}

/// What of the nodes EROFS cannot express, or an overlay would not show as it is.
fn odd(nodes: &[Node]) -> Option<String> {
    let hidden = nodes.iter().find_map(|node| {
        let own = |(name, _): &&(String, Vec<u8>)| name.starts_with(OVERLAYS_OWN);
        let fact = match (&node.kind, node.xattrs.iter().find(own)) {
            (image::ext4::Kind::Char(0, 0), _) => {
                "a character device 0:0 marks a removed file in an overlay".to_owned()
            }
            (_, Some((name, _))) => format!("an overlay takes {name} for a note of its own"),
            _ => return None,
        };
        Some(format!("{}: {fact}", node.path))
    });
    hidden.or_else(|| Some(erofs::check(nodes).err()?.to_string()))
}

/// What of the compressions the kernel has; else what it lacks.
fn able(
    store: &Store,
    tree: &Tree,
    input: &Input,
) -> Result<std::result::Result<Compression, String>> {
    let kernel = initrd::kernel(input);
    if let Some(lack) = kernel.lacks(store, tree, initramfs::EROFS)? {
        return Ok(Err(format!("module {lack}, built in or not")));
    }
    if version(kernel.release).is_none_or(|version| version < SINCE) {
        let (major, minor) = SINCE;
        return Ok(Err(format!("EROFS of Linux {major}.{minor}")));
    }
    let Some(config) = kernel.config(store, tree)? else {
        return Ok(Err("configuration in the tree that tells".to_owned()));
    };
    if let Some(lack) = OPTIONS.iter().find(|option| !config.has(option)) {
        return Ok(Err((*lack).to_owned()));
    }
    Ok(Ok(match config.has("CONFIG_EROFS_FS_ZIP_ZSTD") {
        true => Compression::Zstd,
        false => Compression::Lz4,
    }))
}

/// What the bytes of the image depend on.
pub(crate) struct Facts {
    parameters: Parameters,
    level: i32,
    key: Value,
}

impl Facts {
    pub(crate) fn new(
        input: &Input,
        added: &Added,
        ids: &Ids,
        compression: Compression,
        level: i32,
    ) -> Self {
        let (uuid, epoch) = (ids.erofs.printed(), input.rootfs.source_date_epoch);
        let key = json!({
            "version": VERSION,
            "tree": input.rootfs.tree,
            "added": added,
            "uuid": uuid,
            "epoch": epoch,
            "compression": compression.name(),
            "compressor": compression.version(),
            "level": level,
            "zstd": zstd::zstd_safe::version_number(),
        });
        let parameters = Parameters {
            uuid,
            epoch,
            compression,
        };
        Self {
            parameters,
            level,
            key,
        }
    }
}

/// An image as chunks.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    size: u64,
    chunks: Chunked,
}

/// An image that was made.
pub(crate) struct Made {
    content: Content,
    compression: Compression,
}

/// Writes the image as chunks of its own.
///
/// # Errors
/// Those of the store; exit code 1 where EROFS cannot express an entry.
pub(crate) fn write(cx: &Context, root: &Root, facts: &Facts) -> Result<Made> {
    let content = cx.cached("erofs", &facts.key, || {
        let most = erofs::most_size(root.nodes()).next_multiple_of(CHUNK_SIZE);
        let mut chunker = Chunker::new(cx.store(), most, facts.level);
        let mut sink = Sink::new(&mut chunker);
        let mut open = |index| root.open(index);
        let done = erofs::write(&facts.parameters, root.nodes(), &mut sink, &mut open);
        let size = sink.end(done)?;
        Ok(Content {
            // Its last chunk is a whole one; what lies behind the file system is zero and costs nothing.
            size: size.next_multiple_of(CHUNK_SIZE),
            chunks: chunker.finish()?,
        })
    })?;
    Ok(Made {
        content,
        compression: facts.parameters.compression,
    })
}

impl Made {
    /// The section of the image, with a map in which it stands behind `disk`.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn behind(self, store: &Store, disk: &ChunkMap) -> Result<Erofs> {
        let (offset, size) = (disk.size, self.content.size);
        // Partitions begin on whole chunks, and the disk ends with one.
        let first = offset.div_ceil(CHUNK_SIZE);
        let data_bytes = self.content.chunks.data_bytes;
        let behind = self.content.chunks.chunks.into_iter().map(|chunk| Chunk {
            at: chunk.at + first,
            ..chunk
        });
        let mut map = disk.clone();
        map.size = offset + size;
        map.chunks.extend(behind);
        Ok(Erofs {
            map: map.write(store)?,
            offset,
            size,
            data_bytes,
            frame_bytes: map.payload().1,
            compression: self.compression.name().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::{Digest, Object};
    use store::chunk_map::FORMAT;

    fn chunk(at: u64, bytes: &[u8]) -> Chunk {
        Chunk {
            at,
            blake3: Digest::of(bytes),
            frame: Object::of(bytes),
        }
    }

    fn node(path: &str, kind: image::ext4::Kind, xattr: Option<&str>) -> Node {
        let xattr = xattr.map(|name| (name.to_owned(), Vec::new()));
        Node {
            path: path.to_owned(),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: xattr.into_iter().collect(),
        }
    }

    #[test]
    fn what_an_overlay_would_hide_is_found() {
        let found = |kind, xattr| {
            let root = node("", image::ext4::Kind::Dir, None);
            odd(&[root, node("a", kind, xattr)])
        };
        let file = image::ext4::Kind::File(0);
        let text = found(image::ext4::Kind::Char(0, 0), None).unwrap();
        assert!(text.starts_with("a: a character device 0:0"), "{text}");
        let text = found(image::ext4::Kind::Dir, Some("trusted.overlay.opaque")).unwrap();
        assert_eq!(
            text,
            "a: an overlay takes trusted.overlay.opaque for a note of its own"
        );
        assert_eq!(
            found(image::ext4::Kind::Char(1, 3), Some("trusted.other")),
            None
        );
        assert_eq!(found(file.clone(), Some("user.overlay.opaque")), None);
        // What EROFS has no form for.
        let text = found(file, Some("system.odd")).unwrap();
        assert!(text.contains("extended attributes system.odd"), "{text}");
    }

    /// Words in no order, of which each level and each length of a piece makes something else.
    fn words(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend(format!("{} ", state % 5000 * state.leading_zeros() as u64).bytes());
        }
        out.truncate(length);
        out
    }

    /// Bytes that come in any order.
    struct Memory(Vec<u8>);

    impl image::ext4::RegionSink for Memory {
        fn data(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            let (begin, end) = (offset as usize, offset as usize + bytes.len());
            self.0.resize(self.0.len().max(end), 0);
            self.0[begin..end].copy_from_slice(bytes);
            Ok(())
        }

        fn zeros(&mut self, _: u64, _: u64) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What the writer makes of a link and two files, and the digest of that.
    fn pinned(compression: Compression) -> String {
        let (long, short) = (words(700_000), words(3000));
        let file = |content: &[u8]| image::ext4::Kind::File(content.len() as u64);
        let nodes = [
            node("", image::ext4::Kind::Dir, None),
            node("long", file(&long), None),
            node("short", file(&short), Some("user.note")),
            node("link", image::ext4::Kind::Symlink("long".into()), None),
        ];
        let parameters = Parameters {
            uuid: [0x42; 16],
            epoch: 1_700_000_000,
            compression,
        };
        let mut sink = Memory(Vec::new());
        let mut open = |index| -> std::io::Result<Box<dyn std::io::Read>> {
            let content = if index == 1 { &long } else { &short };
            Ok(Box::new(std::io::Cursor::new(content.clone())))
        };
        erofs::write(&parameters, &nodes, &mut sink, &mut open).unwrap();
        Digest::of(&sink.0).to_string()
    }

    /// Other bytes of the same nodes are another version: a store must not take the old image for the new one. Other
    /// bytes of another lz4 or zstd are not, as its version is in the key.
    #[test]
    fn other_bytes_are_another_version() {
        let made = [Compression::Lz4, Compression::Zstd].map(pinned);
        let pinned = [
            "71e469948dec60ea40233a2097f99c672d49db2b187e41b04430679663f91bf3",
            "8a2429dc94fa3e0e740391ddc197c111bc579261140d091cb027d2610fbbf0d2",
        ];
        assert_eq!(
            (VERSION, made.each_ref().map(String::as_str)),
            (4, pinned),
            "raise VERSION, and pin what it makes"
        );
    }

    #[test]
    fn the_image_stands_behind_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let disk = ChunkMap {
            format: FORMAT,
            size: 3 * CHUNK_SIZE,
            chunk_size: CHUNK_SIZE,
            chunks: vec![chunk(0, b"table"), chunk(2, b"root")],
        };
        let made = Made {
            content: Content {
                size: 2 * CHUNK_SIZE,
                chunks: Chunked {
                    chunks: vec![chunk(0, b"root"), chunk(1, b"image")],
                    data_bytes: 8192,
                    compressed: 2,
                },
            },
            compression: Compression::Lz4,
        };
        let erofs = made.behind(&store, &disk).unwrap();
        assert_eq!((erofs.offset, erofs.size), (3 * CHUNK_SIZE, 2 * CHUNK_SIZE));
        assert_eq!(
            (erofs.data_bytes, erofs.compression.as_str()),
            (8192, "lz4")
        );
        let map = ChunkMap::parse(&store.get(&erofs.map).unwrap()).unwrap();
        let places: Vec<u64> = map.chunks.iter().map(|chunk| chunk.at).collect();
        assert_eq!((places, map.size), (vec![0, 2, 3, 4], 5 * CHUNK_SIZE));
        // What both hold travels once.
        assert_eq!(
            erofs.frame_bytes,
            (b"table".len() + b"root".len() + b"image".len()) as u64
        );
    }
}

//! The payload: the chunk map and its frames, as they lie in the store.

use image::iso9660::{Content, File, Part};
use manifest::{Object, to_canonical};
use serde_json::json;
use stage::{Error, Result};
use store::Store;
use store::chunk_map::ChunkMap;

/// Longest payload file in bytes: below the 4 GiB of ISO 9660, on a chunk's boundary.
const LIMIT: u64 = (1 << 32) - (1 << 20);

/// `deploy.json`, `map` and the frames.
pub(crate) fn files(store: &Store, map: &Object) -> Result<Vec<File>> {
    let chunk_map = ChunkMap::parse(&store.get(map)?).map_err(|e| Error::damaged(e.to_string()))?;
    let frames = chunk_map.frames();
    let groups = split(&frames, LIMIT);
    let name = |n: usize| format!("frames.{n:03}");
    let sizes = groups.iter().enumerate().map(|(n, group)| {
        json!({"name": name(n), "size": group.iter().map(|frame| frame.size).sum::<u64>()})
    });
    let deploy = json!({"ramforge": 1, "map": map, "files": sizes.collect::<Vec<_>>()});
    let mut files = vec![
        File {
            path: "ramforge/deploy.json".to_owned(),
            content: Content::Bytes(to_canonical(&deploy)?.into_bytes()),
        },
        File {
            path: "ramforge/map".to_owned(),
            content: Content::Parts(vec![part(store, map)]),
        },
    ];
    for (n, group) in groups.iter().enumerate() {
        let parts = group.iter().map(|frame| part(store, frame)).collect();
        files.push(File {
            path: format!("ramforge/{}", name(n)),
            content: Content::Parts(parts),
        });
    }
    Ok(files)
}

/// A whole object as part of a file; see [`Pieces`](crate::pieces::Pieces), which finds it again by its path.
pub(crate) fn part(store: &Store, object: &Object) -> Part {
    Part {
        path: store.object_path(object),
        offset: 0,
        len: object.size,
    }
}

/// An object as parts of a file: one, or those that it is made of.
pub(crate) fn parts(store: &Store, object: &Object) -> Result<Vec<Part>> {
    let parts = store.parts(object)?;
    Ok(parts.iter().map(|object| part(store, object)).collect())
}

/// Frames in files of at most `limit` bytes; no frame lies in two files.
fn split(frames: &[Object], limit: u64) -> Vec<Vec<Object>> {
    let mut groups: Vec<(u64, Vec<Object>)> = Vec::new();
    for frame in frames {
        match groups.last_mut() {
            Some((size, group)) if *size + frame.size <= limit => {
                *size += frame.size;
                group.push(*frame);
            }
            _ => groups.push((frame.size, vec![*frame])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_longer_than_the_limit_and_no_frame_is_cut() {
        let frame = |n: u8, size| Object {
            size,
            ..Object::of(&[n])
        };
        let frames = [frame(1, 40), frame(2, 60), frame(3, 1), frame(4, 100)];
        let groups = split(&frames, 100);
        assert_eq!(
            groups,
            [vec![frames[0], frames[1]], vec![frames[2]], vec![frames[3]]]
        );
        assert!(split(&[], 100).is_empty());
    }
}

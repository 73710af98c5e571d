//! The payload: the chunk map and its frames, as they lie in the store.

use image::iso9660::{Content, File, Part};
use manifest::{Object, to_canonical};
use serde_json::json;
use stage::{Error, Result};
use store::Store;
use store::chunk_map::ChunkMap;

/// `deploy.json`, `map` and the frames.
pub(crate) fn files(store: &Store, map: &Object) -> Result<Vec<File>> {
    let chunk_map = ChunkMap::parse(&store.get(map)?).map_err(|e| Error::damaged(e.to_string()))?;
    let groups = chunk_map.payload_files();
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

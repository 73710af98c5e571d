//! The kinds of objects, by the field that names them.

use super::names::Place;

/// What an object is. An object that is named as several things counts as the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A package file.
    Package,
    /// The content of a file in a tree.
    File,
    /// A compressed chunk of a disk image.
    Frame,
    /// A medium.
    Iso,
    /// A kernel, an initramfs, or a part of one.
    Boot,
    /// The listing of a tree, a chunk map, a lock.
    Listing,
    /// What the journal names: sections, facts, logs.
    Record,
    /// Anything else.
    Other,
}

impl Kind {
    /// Its name in plain words, in the plural.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Package => "packages",
            Self::File => "files of trees",
            Self::Frame => "frames",
            Self::Iso => "ISOs",
            Self::Boot => "kernels and initrds",
            Self::Listing => "listings and maps",
            Self::Record => "sections, facts and logs",
            Self::Other => "others",
        }
    }

    /// The kind of what is named at that place.
    pub(crate) fn of(place: &Place) -> Self {
        let field = match place {
            Place::File => return Self::File,
            Place::Object(field) => field.as_str(),
            Place::Package | Place::Other => "",
        };
        match field {
            "deb" => Self::Package,
            "frame" => Self::Frame,
            "iso" => Self::Iso,
            "image" | "initramfs" | "object" => Self::Boot,
            "tree" | "overlay" | "map" | "lock" => Self::Listing,
            "section" | "facts" | "log" | "packages_file" => Self::Record,
            _ => Self::Other,
        }
    }

    /// Whether it is known to name nothing: image content, whatever its bytes look like.
    pub(crate) fn is_leaf(self) -> bool {
        matches!(self, Self::File)
    }
}

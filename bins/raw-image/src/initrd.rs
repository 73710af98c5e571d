//! What the disk boots with when the image was written to it by hand.
//!
//! Where the tree has an initramfs of its own, that one stays as it is, and a segment behind it grows the root. Where
//! it has none, `ram-deploy` is the whole initramfs: it finds the root by its UUID, grows and mounts it.

use initramfs::{Base, Extras, Kernel, Method};
use manifest::Object;
use ram_deploy::config::{FORMAT, GrowConfig};
use ram_deploy::{program, segment};
use stage::{Context, Error, Result};
use store::tree::Tree;

use crate::Input;
use crate::layout::Ids;

/// The segment that grows the root on first boot.
const GROW: &str = "boot/ramforge-grow.img";
/// The initramfs of a tree that has none.
const NATIVE: &str = "boot/ramforge-initrd.img";

/// What GRUB loads.
pub(crate) struct Initrd {
    /// Paths, absolute, in order.
    pub(crate) paths: Vec<String>,
    /// What the tree lacks of it: path and content.
    pub(crate) added: Option<(&'static str, Object)>,
}

/// Makes what the tree lacks.
pub(crate) fn make(cx: &Context, tree: &Tree, input: &Input, ids: &Ids) -> Result<Initrd> {
    let own = own(input);
    let has_own = is_in(tree, input);
    let added = match (has_own, input.plan.disk.resize) {
        (true, true) => Some((GROW, grow_segment(cx, tree, input, ids)?)),
        (true, false) => None,
        (false, _) => Some((NATIVE, native(cx, tree, input, ids)?)),
    };
    let own = has_own.then_some(own);
    let paths = own.iter().map(String::as_str).chain(added.map(|a| a.0));
    Ok(Initrd {
        paths: paths.map(|path| format!("/{path}")).collect(),
        added,
    })
}

/// Where the tree has an initramfs of its own.
fn own(input: &Input) -> String {
    format!("boot/initrd.img-{}", input.rootfs.kernel.release)
}

/// Whether the tree has an initramfs of its own.
pub(crate) fn is_in(tree: &Tree, input: &Input) -> bool {
    let path = tree.resolve(&own(input));
    path.is_some_and(|path| tree.get(&path).is_some())
}

/// The static `ram-deploy`, found beside this program.
pub(crate) fn program() -> Result<Vec<u8>> {
    program::load().map_err(|missing| Error::missing(missing.fact).advice(missing.advice))
}

fn config(input: &Input, ids: &Ids) -> GrowConfig {
    GrowConfig {
        format: FORMAT,
        root_uuid: ids.root_fs.to_string(),
        grow: input.plan.disk.resize,
    }
}

fn archive(items: segment::Items, input: &Input) -> Result<Vec<u8>> {
    segment::archive(&items, input.rootfs.source_date_epoch)
        .map_err(|e| Error::failed(e.to_string()))
}

fn grow_segment(cx: &Context, tree: &Tree, input: &Input, ids: &Ids) -> Result<Object> {
    let lib = tree.resolve("lib").unwrap_or_default();
    let hooks = format!("{lib}/dracut/hooks");
    let items = segment::grow(program()?, &config(input, ids), &hooks)?;
    let archive = archive(items, input)?;
    // Every distribution's kernel reads gzip, and nothing of the base is known here.
    initramfs::packed(cx, Method::Gzip, &archive)
}

pub(crate) fn kernel(input: &Input) -> Kernel<'_> {
    Kernel {
        release: &input.rootfs.kernel.release,
        modules: &input.rootfs.kernel.modules,
    }
}

fn native(cx: &Context, tree: &Tree, input: &Input, ids: &Ids) -> Result<Object> {
    let kernel = kernel(input);
    let base = Base::default();
    let carried = initramfs::carry(cx.store(), tree, kernel, &base, Extras::default())?;
    let init = archive(
        segment::native(program()?, &carried.list, carried.files)?,
        input,
    )?;
    let method = initramfs::choose(cx.store(), tree, kernel, &base)?;
    let configuration = archive(segment::disk_configuration(&config(input, ids))?, input)?;
    let segments = [
        initramfs::packed(cx, method, &init)?,
        cx.store().put(&configuration)?,
    ];
    initramfs::join(cx.store(), &segments)
}

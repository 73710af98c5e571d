//! What stands in the plan for a custom stage, apart from `<type>` and `<oemconfig>`, which have maps of
//! their own.

use manifest::Plan;

use super::Resolution;
use crate::node::Node;
use crate::table::Use;

/// Carries what the table says is carried: of `<image>`, of the preferences in force and of the boot loader.
pub(super) fn fill(
    plan: &mut Plan,
    image: &Node,
    preferences: &[&Node],
    chosen: Option<&Node>,
    r: &mut Resolution<'_>,
) {
    attributes(plan, image, r);
    for node in preferences.iter().flat_map(|p| &p.children) {
        if let (true, Some(text)) = (is_carried(node.row.map(|row| row.does)), node.words()) {
            let texts = plan.carried.entry(format!("preferences/{}", node.name));
            texts
                .and_modify(|all| *all += &format!("\n{text}"))
                .or_insert_with(|| text.to_owned());
            r.origin(
                pointer(&format!("preferences/{}", node.name)),
                node.text_span,
            );
        }
    }
    if let Some(loader) = chosen.and_then(|t| t.child("bootloader")) {
        attributes(plan, loader, r);
    }
}

fn attributes(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>) {
    let Some(row) = node.row else { return };
    for known in row.attributes.iter().filter(|a| is_carried(Some(a.does))) {
        if let Some(text) = node.value(known.name) {
            let key = format!("{}/{}", node.name, known.name);
            r.origin(pointer(&key), node.value_span(known.name));
            plan.carried.insert(key, text.to_owned());
        }
    }
}

fn is_carried(does: Option<Use>) -> bool {
    matches!(does, Some(Use::Carried(_)))
}

/// The place of a key in the plan: a slash in a key is `~1` in a JSON pointer.
fn pointer(key: &str) -> String {
    format!("/carried/{}", key.replace('/', "~1"))
}

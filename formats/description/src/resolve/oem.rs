//! `<oemconfig>`.

use manifest::Plan;

use super::Resolution;
use crate::node::{Node, boolean};
use crate::table::Use;

pub(super) fn fill(plan: &mut Plan, node: &Node, r: &mut Resolution<'_>) {
    let Some(config) = node.child("oemconfig") else {
        return;
    };
    r.origin("/oem", config.span);
    let flag = |name: &str| config.child(name).and_then(|n| boolean(&n.text));
    plan.oem.unattended = flag("oem-unattended").unwrap_or(false);
    plan.oem.skip_verify = flag("oem-skip-verify").unwrap_or(false);
    plan.oem.resize = flag("oem-resize").unwrap_or(true);
    plan.disk.resize = plan.oem.resize;
    if let Some(device) = config.child("oem-unattended-id") {
        plan.oem.unattended_id = device.words().map(str::to_owned);
        r.origin("/oem/unattended_id", device.text_span);
    }
    for element in &config.children {
        let kept = matches!(
            element.row.map(|r| r.does),
            Some(Use::Carried(_) | Use::Ignored(_))
        );
        // What is switched off is as if it were not there, so that all spellings give one plan.
        let text = element.text.trim();
        if kept && boolean(text) != Some(false) {
            plan.oem
                .elements
                .insert(element.name.clone(), text.to_owned());
        }
    }
}

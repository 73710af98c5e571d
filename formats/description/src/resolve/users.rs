//! `<users>`. A user's first definition counts; groups of all definitions are joined, as in KIWI.

use std::collections::BTreeSet;

use manifest::{Plan, User};

use super::{Resolution, account};
use crate::code;
use crate::diagnostic::{Report, error, quoted, warning};
use crate::node::Node;
use crate::password;

pub(super) fn fill(plan: &mut Plan, image: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    let sections: Vec<&Node> = image
        .all("users")
        .filter(|s| r.conditions.hold(s))
        .collect();
    for node in sections.iter().flat_map(|s| s.all("user")) {
        let Some(name) = node.value("name") else {
            continue;
        };
        match plan.users.iter().position(|u| u.name == name) {
            Some(index) => join(plan, index, node, r, report),
            None => add(plan, name, node, r, report),
        }
    }
}

fn add(plan: &mut Plan, name: &str, node: &Node, r: &mut Resolution<'_>, report: &mut Report) {
    account::check(node, report);
    let own = |attribute: &str| node.value(attribute).map(str::to_owned);
    let user = User {
        name: name.to_owned(),
        password: password(name, node, &plan.name, report),
        id: node.value("id").and_then(|v| v.parse().ok()),
        groups: groups(node),
        home: own("home"),
        shell: own("shell"),
        realname: own("realname"),
    };
    let taken = plan
        .users
        .iter()
        .position(|u| u.id.is_some() && u.id == user.id);
    if let (Some(index), Some(id)) = (taken, user.id) {
        let fact = format!(
            "the id {id} is taken by {}",
            quoted(&plan.users[index].name)
        );
        let mut found = error(
            code::DUPLICATE_ID,
            node.value_span("id"),
            fact,
            "expected another",
        );
        if let Some(first) = r.origins.get(&format!("/users/{index}")) {
            found = found.and(*first, "this one has it");
        }
        report.add(found);
    }
    r.origin(
        format!("/users/{}", plan.users.len()),
        node.value_span("name"),
    );
    plan.users.push(user);
}

fn groups(node: &Node) -> Vec<String> {
    let names = node.value("groups").into_iter().flat_map(|v| v.split(','));
    let mut seen = BTreeSet::new();
    names
        .map(str::trim)
        .filter(|name| seen.insert(*name))
        .map(str::to_owned)
        .collect()
}

fn join(plan: &mut Plan, index: usize, node: &Node, r: &Resolution<'_>, report: &mut Report) {
    account::check_groups(node, report);
    let user = &mut plan.users[index];
    let known: BTreeSet<String> = user.groups.iter().cloned().collect();
    let more = groups(node).into_iter().filter(|g| !known.contains(g));
    user.groups.extend(more);
    let span = node.value_span("name");
    let fact = format!("user {} is defined twice", quoted(&user.name));
    let label = "of this one only the groups count";
    let mut found = warning(code::SECOND_DEFINITION, span, fact, label);
    if let Some(first) = r.origins.get(&format!("/users/{index}")) {
        found = found.and(*first, "the first is here");
    }
    report.add(found);
}

fn password(user: &str, node: &Node, image: &str, report: &mut Report) -> Option<String> {
    // A password may begin or end with a blank, so the value is taken as it stands.
    let text = node
        .attribute("password")
        .map(|a| a.value.as_str())
        .filter(|v| !v.is_empty())?;
    if node.value("pwdformat") == Some("plain") {
        return password::hash(text, image, user);
    }
    if !password::looks_like_hash(text) {
        let fact = format!("the password of {} is no crypt(3) hash", quoted(user));
        let label = "expected $6$… or the like";
        let help = "nobody could log in with it; add pwdformat=\"plain\", or write the hash that mkpasswd prints";
        report.add(warning(code::NOT_A_HASH, node.value_span("password"), fact, label).help(help));
    }
    Some(text.to_owned())
}

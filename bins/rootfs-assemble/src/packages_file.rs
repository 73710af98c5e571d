//! `NAME.ARCH-VERSION.packages`: one line per package, as KIWI writes it for dpkg.
//!
//! ```text
//! name|epoch|version|release|architecture|disturl|license
//! bash|None|5.2.15-2+b13|None|amd64|None|None
//! ```
//!
//! dpkg's version holds epoch and revision; the fields that only rpm knows say `None`.

/// The text for these packages: name, version, architecture.
pub fn text(installed: &[(String, String, String)]) -> String {
    let mut lines: Vec<String> = installed
        .iter()
        .map(|(name, version, architecture)| {
            format!("{name}|None|{version}|None|{architecture}|None|None\n")
        })
        .collect();
    lines.sort();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_and_have_seven_fields() {
        let package = |n: &str, v: &str, a: &str| (n.into(), v.into(), a.into());
        let text = text(&[package("b", "1:2-3", "all"), package("a", "1", "amd64")]);
        assert_eq!(
            text,
            "a|None|1|None|amd64|None|None\nb|None|1:2-3|None|all|None|None\n"
        );
    }
}

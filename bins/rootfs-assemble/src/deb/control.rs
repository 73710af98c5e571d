//! Control paragraphs, deb822(5): `Field: value` lines, continued by lines that begin with a blank.

/// One paragraph: fields in their order. Values keep their line breaks and indentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paragraph {
    fields: Vec<(String, String)>,
}

impl Paragraph {
    /// All paragraphs of a text. Comment lines are left out; what is no field is left out too.
    pub fn parse_all(text: &str) -> Vec<Self> {
        let mut all = vec![Self::default()];
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            if line.trim().is_empty() {
                all.push(Self::default());
            } else if let Some(current) = all.last_mut() {
                current.take_line(line);
            }
        }
        all.retain(|p| !p.fields.is_empty());
        all
    }

    fn take_line(&mut self, line: &str) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = self.fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let field = (name.trim().to_owned(), value.trim_start().to_owned());
            self.fields.push(field);
        }
    }

    /// The value of a field; names are compared without case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Adds a field at the end, or gives an existing one another value.
    pub fn set(&mut self, name: &str, value: &str) {
        let place = self
            .fields
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        match place {
            Some((_, old)) => value.clone_into(old),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The names that a relation field (`Depends`, `Provides`, …) mentions: for each of its terms the
    /// alternatives, without versions, architectures and profiles.
    pub fn relation(&self, field: &str) -> Vec<Vec<String>> {
        let name = |alternative: &str| {
            let end = alternative
                .find([' ', '(', '[', '<', ':', '\n'])
                .unwrap_or(alternative.len());
            alternative[..end].to_owned()
        };
        let terms = self.get(field).unwrap_or_default().split(',');
        terms
            .map(|term| term.split('|').map(|a| name(a.trim())).collect())
            .filter(|term: &Vec<String>| term.iter().any(|n| !n.is_empty()))
            .collect()
    }
}

impl std::fmt::Display for Paragraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.fields {
            let blank = if value.is_empty() || value.starts_with('\n') {
                ""
            } else {
                " "
            };
            writeln!(f, "{name}:{blank}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: a\nDepends: libc6 (>= 2.36), x | y:any [amd64],\n z\nDescription: short\n long\n .\n\n\nPackage: b\n# no field\nConffiles:\n /etc/b 00\n";

    #[test]
    fn a_text_survives_reading_and_writing() {
        let all = Paragraph::parse_all(TEXT);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("DESCRIPTION"), Some("short\n long\n ."));
        let text = all[1].to_string();
        assert_eq!(text, "Package: b\nConffiles:\n /etc/b 00\n");
        assert_eq!(Paragraph::parse_all(&text)[0], all[1]);
    }

    #[test]
    fn relations_are_names() {
        let all = Paragraph::parse_all(TEXT);
        assert_eq!(
            all[0].relation("Depends"),
            [vec!["libc6"], vec!["x", "y"], vec!["z"]]
        );
        assert!(all[0].relation("Provides").is_empty());
    }
}

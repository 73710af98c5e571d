//! The manifest as a document: read with care, written canonically.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::canonical::canonical_fields;
use crate::error::{Error, Result};
use crate::plan::{Origin, Plan};
use crate::section::{KNOWN, Section, check};

/// The version of the manifest as a whole. Changelog. 1: the first.
pub const FORMAT: u64 = 1;

/// A manifest whose known sections have been checked. Unknown sections are kept as they came.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    fields: Map<String, Value>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            fields: Map::from_iter([("ramforge".to_owned(), Value::from(FORMAT))]),
        }
    }
}

impl Manifest {
    /// Reads one JSON object and checks every section that this release knows.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::MissingSection`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(Error::Empty);
        }
        let value: Value = serde_json::from_str(text).map_err(|e| Error::Syntax {
            line: e.line(),
            column: e.column(),
            fact: without_position(&e),
        })?;
        let Value::Object(fields) = value else {
            return Err(Error::NotAManifest(
                "the input is JSON, but no object".to_owned(),
            ));
        };
        check_format(&fields)?;
        for (name, value) in &fields {
            check_section(name, value)?;
        }
        Ok(Self { fields })
    }

    /// The canonical text: one line, without the final newline.
    ///
    /// # Errors
    /// [`Error::NotAnInteger`] where an unknown section holds another number.
    pub fn to_line(&self) -> Result<String> {
        canonical_fields(&self.fields)
    }

    /// One known section, whole.
    ///
    /// # Errors
    /// [`Error::MissingSection`] where it is not there.
    pub fn section<S: Section>(&self) -> Result<S> {
        let value = self.fields.get(S::NAME).ok_or_else(|| missing(S::NAME))?;
        read(S::NAME, value)
    }

    /// Whether the section is there.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The manifest read as `T`, which names exactly the fields that a stage needs.
    ///
    /// # Errors
    /// [`Error::MissingSection`] or [`Error::BadSection`] where a field that `T` needs is not there.
    pub fn project<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Value::Object(self.fields.clone())).map_err(|e| {
            let fact = e.to_string();
            match fact
                .strip_prefix("missing field `")
                .and_then(|rest| rest.split('`').next())
            {
                Some(name) if !self.has(name) && KNOWN.iter().any(|k| k.0 == name) => missing(name),
                _ => Error::BadSection {
                    section: "(input)".to_owned(),
                    fact,
                },
            }
        })
    }

    /// The image's name as its files have it, `NAME.ARCH-VERSION`; none without a plan.
    pub fn image_name(&self) -> Option<String> {
        let plan = self.fields.get(Plan::NAME)?;
        let word = |name| plan.get(name)?.as_str();
        Some(format!(
            "{}.{}-{}",
            word("name")?,
            word("arch")?,
            word("version")?
        ))
    }

    /// The medium, where there is one.
    pub fn medium(&self) -> Option<crate::Object> {
        let iso = self.fields.get(crate::Media::NAME)?.get("iso")?;
        serde_json::from_value(iso.clone()).ok()
    }

    /// Where the value at `pointer` of the plan stands in the description.
    pub fn plan_origin(&self, pointer: &str) -> Option<Origin> {
        let origin = self.fields.get(Plan::NAME)?.get("origins")?.get(pointer)?;
        serde_json::from_value(origin.clone()).ok()
    }

    /// Adds or replaces one section.
    ///
    /// # Errors
    /// [`Error::Unwritable`] where the section cannot be written as JSON.
    pub fn set<S: Section>(&mut self, section: &S) -> Result<()> {
        let value = serde_json::to_value(section).map_err(|e| Error::Unwritable(e.to_string()))?;
        self.set_value::<S>(value);
        Ok(())
    }

    /// Adds or replaces one section that is JSON already.
    pub fn set_value<S: Section>(&mut self, section: Value) {
        self.fields.insert(S::NAME.to_owned(), section);
    }
}

fn check_format(fields: &Map<String, Value>) -> Result<()> {
    let Some(value) = fields.get("ramforge") else {
        return Err(Error::NotAManifest(
            "the object has no \"ramforge\"".to_owned(),
        ));
    };
    match value.as_u64() {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(Error::NewerManifest {
            found,
            known: FORMAT,
        }),
        _ => Err(Error::NotAManifest(format!("\"ramforge\" is {value}"))),
    }
}

fn check_section(name: &str, value: &Value) -> Result<()> {
    let Some(&(section, _, known)) = KNOWN.iter().find(|k| k.0 == name) else {
        return Ok(());
    };
    let found = value.get("format").and_then(Value::as_u64).unwrap_or(0);
    if found > known {
        let by = value
            .get("by")
            .and_then(Value::as_str)
            .unwrap_or("an unnamed program")
            .to_owned();
        return Err(Error::NewerSection {
            section,
            found,
            known,
            by,
        });
    }
    match check(name, value) {
        Some(e) => Err(Error::BadSection {
            section: name.to_owned(),
            fact: e.to_string(),
        }),
        None => Ok(()),
    }
}

fn read<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|e| Error::BadSection {
        section: name.to_owned(),
        fact: e.to_string(),
    })
}

fn missing(name: &str) -> Error {
    let stage = KNOWN
        .iter()
        .find(|k| k.0 == name)
        .map_or("its stage", |k| k.1);
    Error::MissingSection {
        section: name.to_owned(),
        stage: stage.to_owned(),
    }
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_sections_pass_untouched() {
        let line = r#"{"mine":{"a":"é","z":[1,2]},"ramforge":1}"#;
        assert_eq!(Manifest::parse(line).unwrap().to_line().unwrap(), line);
    }

    #[test]
    fn garbage_is_refused_with_its_position() {
        assert!(matches!(Manifest::parse(""), Err(Error::Empty)));
        assert!(matches!(
            Manifest::parse("{\"a\":\n x}"),
            Err(Error::Syntax {
                line: 2,
                column: 2,
                ..
            })
        ));
        assert!(matches!(Manifest::parse("[]"), Err(Error::NotAManifest(_))));
        assert!(matches!(
            Manifest::parse("{\"ramforge\":2}"),
            Err(Error::NewerManifest { found: 2, .. })
        ));
    }

    #[test]
    fn newer_section_names_its_writer() {
        let text = r#"{"ramforge":1,"disk":{"format":9,"by":"raw-image 9.0","new":1}}"#;
        let error = Manifest::parse(text).unwrap_err().to_string();
        assert!(
            error.contains("raw-image 9.0") && error.contains("format 9"),
            "{error}"
        );
    }

    #[test]
    fn a_misspelt_field_does_not_vanish() {
        let text = r#"{"ramforge":1,"initrd":{"format":1,"by":"x","segmnets":[]}}"#;
        let error = Manifest::parse(text).unwrap_err().to_string();
        assert!(error.contains("segmnets"), "{error}");
    }

    #[test]
    fn a_missing_section_names_the_stage_that_writes_it() {
        #[derive(Debug, serde::Deserialize)]
        struct Input {
            #[allow(dead_code)]
            disk: Value,
        }
        let error = Manifest::default()
            .project::<Input>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("run raw-image"), "{error}");
    }
}

//! Attributes in the form that the `spans` table keeps: values as text, their types as letters beside them.

use weir_model::{SmolStr, ToSmolStr};

/// Attributes of a span or a resource, in the order that they were added. What is unknown is left out.
#[derive(Default)]
pub(crate) struct Attributes {
    entries: Vec<(SmolStr, SmolStr)>,
    types: String,
}

impl Attributes {
    pub(crate) fn text(&mut self, key: &'static str, value: Option<&SmolStr>) {
        if let Some(value) = value {
            self.push(key, value.clone(), 's');
        }
    }

    pub(crate) fn int(&mut self, key: &'static str, value: Option<i64>) {
        if let Some(value) = value {
            self.push(key, value.to_smolstr(), 'i');
        }
    }

    pub(crate) fn port(&mut self, key: &'static str, value: Option<u16>) {
        self.int(key, value.map(i64::from));
    }

    pub(crate) fn flag(&mut self, key: &'static str, value: Option<bool>) {
        if let Some(value) = value {
            self.push(key, SmolStr::new_static(if value { "true" } else { "false" }), 'b');
        }
    }

    /// The map and its letters; no letters where there are no attributes.
    pub(crate) fn finish(self) -> (Vec<(SmolStr, SmolStr)>, Option<SmolStr>) {
        let types = (!self.types.is_empty()).then(|| SmolStr::new(&self.types));
        (self.entries, types)
    }

    fn push(&mut self, key: &'static str, value: SmolStr, letter: char) {
        self.entries.push((SmolStr::new_static(key), value));
        self.types.push(letter);
    }
}

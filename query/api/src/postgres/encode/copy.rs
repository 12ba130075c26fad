//! Rows as `COPY … TO STDOUT` has them: a `CopyData` message each, as text, CSV or binary (PostgreSQL's manual, COPY, "File
//! Formats").

use arrow::array::{Array, ArrayRef};
use bytes::{BufMut, BytesMut};
use weir_query::postgres::{CopyKind, CopyOut, Quoted};

use super::{Column, sized, value, written};

/// What binary rows begin with: how they are known, no flags, nothing more.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Where columns would be counted: there is no more row.
const END: i16 = -1;

/// How rows are copied out.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::postgres) struct CopyForm {
    copy: CopyOut,
    /// Which columns have quotes around every value.
    quoted: Vec<bool>,
    /// Whether the signature of binary rows was sent.
    is_begun: bool,
    /// One value.
    value: BytesMut,
}

impl CopyForm {
    /// # Errors
    /// The name of a column that there isn't.
    pub(in crate::postgres) fn new(copy: CopyOut, names: &[&str]) -> Result<CopyForm, String> {
        let quoted = match &copy.quoted {
            Quoted::Needed => vec![false; names.len()],
            Quoted::All => vec![true; names.len()],
            Quoted::Columns(quoted) => {
                if let Some(unknown) = quoted.iter().find(|name| !names.contains(&name.as_str())) {
                    return Err(unknown.clone());
                }
                names.iter().map(|name| quoted.iter().any(|quoted| quoted == name)).collect()
            }
        };
        Ok(CopyForm { copy, quoted, is_begun: false, value: BytesMut::new() })
    }

    pub(in crate::postgres) fn is_binary(&self) -> bool {
        self.copy.kind == CopyKind::Binary
    }

    /// Writes the names of the columns, where they are wanted.
    pub(in crate::postgres) fn begin(&self, names: &[&str], to: &mut BytesMut) {
        if !self.copy.has_header || self.is_binary() {
            return;
        }
        message(to, |to| {
            for (index, name) in names.iter().enumerate() {
                self.delimit(index, to);
                self.text(name.as_bytes(), false, to);
            }
            to.put_u8(b'\n');
        });
    }

    /// Writes one row.
    pub(super) fn row(&mut self, columns: &[(Column, ArrayRef)], row: usize, to: &mut BytesMut) {
        if self.is_binary() {
            let signature = self.signature();
            return message(to, |to| {
                to.put_slice(signature);
                to.put_u16(columns.len() as u16);
                for (column, array) in columns {
                    value(array, row, *column, to);
                }
            });
        }
        let mut value = std::mem::take(&mut self.value);
        message(to, |to| {
            for (index, (column, array)) in columns.iter().enumerate() {
                self.delimit(index, to);
                if array.is_null(row) {
                    to.put_slice(self.copy.null.as_bytes());
                    continue;
                }
                value.clear();
                written(array, row, column.kind, &mut value);
                self.text(&value, self.quoted.get(index) == Some(&true), to);
            }
            to.put_u8(b'\n');
        });
        self.value = value;
    }

    /// Writes what follows the last row.
    pub(in crate::postgres) fn end(&mut self, to: &mut BytesMut) {
        if self.is_binary() {
            let signature = self.signature();
            message(to, |to| {
                to.put_slice(signature);
                to.put_i16(END);
            });
        }
    }

    /// What binary rows begin with, once. It has no message of its own: clients take each for a row.
    fn signature(&mut self) -> &'static [u8] {
        if std::mem::replace(&mut self.is_begun, true) { &[] } else { SIGNATURE }
    }

    fn delimit(&self, index: usize, to: &mut BytesMut) {
        if index > 0 {
            to.put_u8(self.copy.delimiter);
        }
    }

    /// One value that is there.
    fn text(&self, value: &[u8], is_quoted: bool, to: &mut BytesMut) {
        if self.copy.kind == CopyKind::Csv {
            self.csv(value, is_quoted, to);
        } else {
            escaped(value, self.copy.delimiter, to);
        }
    }

    fn csv(&self, value: &[u8], is_quoted: bool, to: &mut BytesMut) {
        let CopyOut { delimiter, quote, escape, null, .. } = &self.copy;
        let is_special = |c: &u8| [*delimiter, *quote, b'\n', b'\r'].contains(c);
        // A line of these two alone ends what is read back.
        let is_end = self.quoted.len() == 1 && value == b"\\.";
        if !is_quoted && !is_end && value != null.as_bytes() && !value.iter().any(is_special) {
            return to.put_slice(value);
        }
        to.put_u8(*quote);
        for c in value {
            if c == quote || c == escape {
                to.put_u8(*escape);
            }
            to.put_u8(*c);
        }
        to.put_u8(*quote);
    }
}

fn message(to: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    to.put_u8(b'd');
    sized(to, write);
}

/// A value as the text format has it: what would be misread stands behind a backslash.
fn escaped(value: &[u8], delimiter: u8, to: &mut BytesMut) {
    for &c in value {
        let letter = match c {
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            11 => b'v',
            12 => b'f',
            b'\r' => b'r',
            b'\\' => b'\\',
            c if c == delimiter => c,
            c => {
                to.put_u8(c);
                continue;
            }
        };
        to.put_slice(&[b'\\', letter]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_query::postgres::{Command, statements};

    /// What one value becomes, alone or as one of two columns.
    fn copied(options: &str, value: &str) -> String {
        let text = format!("COPY (SELECT 1) TO STDOUT {options}");
        let Command::Copy(copy) = statements(&text).expect("options").remove(0).command else {
            panic!("{text}")
        };
        let form = CopyForm::new(copy, &["x"]).expect("a form");
        let mut bytes = BytesMut::new();
        form.text(value.as_bytes(), form.quoted[0], &mut bytes);
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn values_are_escaped_as_postgresql_does() {
        for (options, value, expected) in [
            ("", "a\tb\nc\rd\\e\u{8}\u{b}\u{c}ä,", "a\\tb\\nc\\rd\\\\e\\b\\v\\fä,"),
            ("", "\\N", "\\\\N"),
            ("(DELIMITER '|')", "a|b\tc", "a\\|b\\tc"),
            ("CSV", "plain", "plain"),
            ("CSV", "a,b", "\"a,b\""),
            ("CSV", "say \"x\"\n", "\"say \"\"x\"\"\n\""),
            ("CSV", "", "\"\""),
            ("CSV", "\\.", "\"\\.\""),
            ("CSV NULL 'none'", "none", "\"none\""),
            ("CSV NULL 'none'", "", ""),
            ("CSV DELIMITER ';' QUOTE '''' ESCAPE '\\'", "a;'\\\"", "'a;\\'\\\\\"'"),
            ("CSV FORCE QUOTE *", "plain", "\"plain\""),
        ] {
            assert_eq!(copied(options, value), expected, "{options}: {value:?}");
        }
    }
}

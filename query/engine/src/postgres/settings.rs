//! Settings of a PostgreSQL session: what clients set when they begin, and ask for.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a client may make of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Anything: it is told again, and does nothing.
    Any,
    /// Anything, and it stays as it is: what answers look like doesn't depend on it.
    Same,
    /// Only values that begin so, in lower case: another one would make answers other than the client thinks.
    Only(&'static [&'static str]),
    /// A duration, in milliseconds where it has no unit.
    Time,
}

/// Name, value where it isn't set, what it may become, what it is.
type Known = (&'static str, &'static str, Kind, &'static str);

const KNOWN: &[Known] = &[
    ("application_name", "", Kind::Any, "What the client calls itself."),
    ("bytea_output", "hex", Kind::Only(&["hex"]), "How binary values are written."),
    ("client_encoding", "UTF8", Kind::Only(&["utf8", "utf-8", "unicode"]), "How text is encoded."),
    ("client_min_messages", "notice", Kind::Any, "Kept for clients that set it."),
    ("datestyle", "ISO, MDY", Kind::Only(&["iso"]), "How times are written."),
    ("default_transaction_isolation", "read committed", Kind::Same, "Each question sees one snapshot."),
    ("default_transaction_read_only", "on", Kind::Same, "Nothing can be changed."),
    ("extra_float_digits", "1", Kind::Any, "Numbers are always written so that they read back the same."),
    ("idle_in_transaction_session_timeout", "0", Kind::Any, "Kept for clients that set it."),
    ("in_hot_standby", "off", Kind::Same, "This is no standby."),
    ("integer_datetimes", "on", Kind::Same, "Binary times are integers."),
    ("intervalstyle", "postgres", Kind::Only(&["postgres"]), "How durations are written."),
    ("is_superuser", "off", Kind::Same, "Nobody may more than ask."),
    ("lc_collate", "C", Kind::Same, "Text is sorted by its bytes."),
    ("lc_ctype", "C", Kind::Same, "Text is sorted by its bytes."),
    ("lc_messages", "C", Kind::Any, "Messages are English."),
    ("lc_monetary", "C", Kind::Any, "Kept for clients that set it."),
    ("lock_timeout", "0", Kind::Any, "Nothing is locked."),
    ("max_identifier_length", "63", Kind::Same, "Kept for clients that ask."),
    ("max_index_keys", "32", Kind::Same, "There are no indexes."),
    ("row_security", "on", Kind::Any, "Kept for clients that set it."),
    ("search_path", "public", Kind::Same, "Where names without a schema are looked for."),
    ("server_encoding", "UTF8", Kind::Same, "How text is encoded."),
    (
        "server_version",
        "",
        Kind::Same,
        "The PostgreSQL whose protocol and catalogue this is, and Weir's version.",
    ),
    ("server_version_num", "160000", Kind::Same, "The same as a number."),
    ("session_authorization", "", Kind::Same, "Who asks."),
    (
        "standard_conforming_strings",
        "on",
        Kind::Only(&["on", "true", "yes", "1"]),
        "Backslashes are themselves.",
    ),
    (
        "statement_timeout",
        "0",
        Kind::Time,
        "How long a question may take, below the server's limit; 0: that one.",
    ),
    ("synchronize_seqscans", "on", Kind::Any, "Kept for clients that set it."),
    ("timezone", "UTC", Kind::Same, "Times are told in UTC, and carry their zone."),
    ("transaction_isolation", "read committed", Kind::Same, "Each question sees one snapshot."),
    ("transaction_read_only", "on", Kind::Same, "Nothing can be changed."),
];

/// What a client is told of at the start and whenever it changes, as PostgreSQL spells it.
const TOLD: [&str; 13] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
];

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// There is none of this name.
    Unknown(String),
    /// It can't become this; the text says what it can.
    Invalid(String),
}

/// One session's settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Of a session of `user` with a Weir of this version.
    pub fn new(version: &str, user: &str) -> Settings {
        let version = format!("16.0 (Weir {version})");
        let values = [("server_version", version), ("session_authorization", user.to_owned())];
        Settings { values: values.into() }
    }

    /// A setting's value; names are in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (name, value, ..) = known(name)?;
        Some(self.values.get(name).map_or(value, String::as_str))
    }

    /// All of them: name, value, description.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, &'static str)> {
        KNOWN.iter().map(|(name, value, _, description)| {
            (*name, self.values.get(name).map_or(*value, String::as_str), *description)
        })
    }

    /// What the client is told of.
    pub fn told(&self) -> impl Iterator<Item = (&'static str, &str)> {
        TOLD.into_iter().filter_map(|name| Some((name, self.get(name)?)))
    }

    /// Sets one; `None` is its default.
    ///
    /// # Errors
    /// [`SettingError`] where there is none, or it can't become `value`.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        let Some((name, _, kind, _)) = known(name) else {
            return Err(SettingError::Unknown(name.to_owned()));
        };
        let Some(value) = value.filter(|value| !value.eq_ignore_ascii_case("default")) else {
            if *kind != Kind::Same {
                self.values.remove(name);
            }
            return Ok(());
        };
        match kind {
            Kind::Same => return Ok(()),
            Kind::Only(values) => {
                let given = value.trim().to_ascii_lowercase();
                if !values.iter().any(|value| given.starts_with(value)) {
                    return Err(SettingError::Invalid(format!("{name} can only be {} here", values[0])));
                }
            }
            Kind::Time => {
                let time = duration(value).ok_or_else(|| {
                    SettingError::Invalid(format!("{name}: {value:?} is no duration (try 5000 or '5s')"))
                })?;
                self.values.insert(name, time.as_millis().to_string());
            }
            Kind::Any => {
                self.values.insert(name, value.to_owned());
            }
        }
        Ok(())
    }

    /// All of them as they were at the start.
    pub fn reset(&mut self) {
        self.values.retain(|name, _| known(name).is_some_and(|(_, _, kind, _)| *kind == Kind::Same));
    }

    /// How long a question may take, where that was set.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.get("statement_timeout").and_then(duration).filter(|time| !time.is_zero())
    }
}

fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))
}

/// `5000`, `5s`, `2min`: milliseconds without a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let milliseconds = match text[digits.len()..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(digits.parse::<u64>().ok()?.checked_mul(milliseconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_how_answers_look_is_refused_and_the_rest_is_harmless() {
        let mut settings = Settings::new("0.1.0", "ann");
        assert_eq!(settings.get("Server_Version"), Some("16.0 (Weir 0.1.0)"));
        settings.set("application_name", Some("psql")).expect("anything");
        settings.set("DateStyle", Some("ISO")).expect("what it is");
        settings.set("TimeZone", Some("Europe/Berlin")).expect("harmless");
        assert_eq!((settings.get("application_name"), settings.get("timezone")), (Some("psql"), Some("UTC")));
        for (name, value) in
            [("client_encoding", "LATIN1"), ("datestyle", "German"), ("statement_timeout", "soon")]
        {
            assert!(matches!(settings.set(name, Some(value)), Err(SettingError::Invalid(_))), "{name}");
        }
        assert_eq!(settings.set("tea", Some("green")), Err(SettingError::Unknown("tea".to_owned())));
        settings.reset();
        assert_eq!(
            (settings.get("application_name"), settings.get("session_authorization")),
            (Some(""), Some("ann"))
        );
    }

    #[test]
    fn a_question_may_be_given_less_time() {
        let mut settings = Settings::default();
        assert_eq!(settings.statement_timeout(), None);
        for (text, time) in [("250", 250), ("5s", 5_000), ("1 min", 60_000)] {
            settings.set("statement_timeout", Some(text)).expect("a duration");
            assert_eq!(settings.statement_timeout(), Some(Duration::from_millis(time)), "{text}");
        }
        settings.set("statement_timeout", Some("0")).expect("none");
        assert_eq!(settings.statement_timeout(), None);
    }
}

//! What values of several subcommands' flags are checked by.

use std::time::Duration;

use url::Url;
use weir_collector::Shares;

use crate::up::retention::{Age, Room};

/// A share between 0 and 1, such as a confidence.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a confidence is between 0 and 1 (try 0.8)".to_owned())
}

/// A size in bytes: a number, or one with a unit, such as `512MiB` and `2GB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is no size (try 1GiB or 512MiB)");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let number: f64 = digits.parse().ok().filter(|number| *number >= 0.0).ok_or_else(wrong)?;
    let unit: f64 = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "ki" | "kib" => 1024.0,
        "m" | "mb" => 1e6,
        "mi" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" => 1e9,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" => 1e12,
        "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    Ok((number * unit) as usize)
}

/// Where a scheduler is.
pub(crate) fn scheduler(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.has_host());
    url.ok_or_else(|| format!("{text:?} is no scheduler's address (try http://127.0.0.1:8484)"))
}

/// How old something may become: a number with a unit, or `none` for as old as it likes.
pub(crate) fn age(text: &str) -> Result<Age, String> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(Age(None));
    }
    let wrong = || format!("{text:?} is no age (try 12h, 30d or 8w, or none)");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    let hours = match &text[digits.len()..] {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return Err(wrong()),
    };
    Ok(Age(Some(Duration::from_hours(u64::from(number) * hours))))
}

/// A table's name and an age.
pub(crate) fn table_age(text: &str) -> Result<(&'static str, Age), String> {
    let (name, of) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is no TABLE=AGE (try audit_log=52w)"))?;
    let table = weir_model::tables::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = weir_model::tables::ALL.iter().map(|table| table.name).collect();
        format!("no table {name:?}: there are {}", known.join(", "))
    })?;
    Ok((table.name, age(of)?))
}

/// Room on disk: a size, or a share of the file system such as `80%`.
pub(crate) fn room(text: &str) -> Result<Room, String> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        return size(text)
            .map(|bytes| Room::Bytes(bytes as u64))
            .map_err(|err| format!("{err}, or a share such as 80%"));
    };
    let percent = percent.parse().ok().filter(|percent| (1..=95).contains(percent));
    percent.map(Room::Percent).ok_or_else(|| format!("{text:?} is no share of a file system (1% to 95%)"))
}

/// How much memory a process may take: enough for all its parts.
pub(crate) fn memory(text: &str) -> Result<usize, String> {
    let least = Shares::LEAST;
    let bytes = size(text)?;
    if bytes < least {
        return Err(format!("{text} is too little: Weir needs {} MiB", least >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_as_kubernetes_and_people_write_it() {
        let sizes = [
            ("1024", 1024),
            ("1GiB", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("512 MiB", 512 << 20),
            ("2GB", 2_000_000_000),
            ("1TiB", 1 << 40),
        ];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GiB", "-1GiB", "1XiB", "1 G i", "much"] {
            assert!(size(wrong).is_err_and(|hint| hint.contains("try 1GiB")), "{wrong}");
        }
        assert!(memory("1MiB").is_err_and(|hint| hint.contains("256 MiB")));
    }

    #[test]
    fn rows_are_kept_for_hours_days_and_weeks_and_within_room() {
        let hours = |hours| Ok(Age(Some(Duration::from_hours(hours))));
        for (text, expected) in
            [("12h", hours(12)), ("30d", hours(720)), ("2w", hours(336)), ("none", Ok(Age(None)))]
        {
            assert_eq!(age(text), expected, "{text}");
        }
        for wrong in ["", "d", "0d", "-1d", "30", "5m", "30 d"] {
            assert!(age(wrong).is_err_and(|hint| hint.contains("try 12h")), "{wrong}");
        }
        assert_eq!(table_age("audit_log=52w"), Ok(("audit_log", Age(Some(Duration::from_hours(52 * 168))))));
        assert!(table_age("tea=1d").is_err_and(|hint| hint.contains("there are flows, ")));
        assert!(table_age("flows").is_err_and(|hint| hint.contains("try audit_log=52w")));
        assert_eq!((room("80%"), room("2GB")), (Ok(Room::Percent(80)), Ok(Room::Bytes(2_000_000_000))));
        assert!(room("100%").is_err() && room("x%").is_err() && room("much").is_err());
    }

    #[test]
    fn a_confidence_is_between_0_and_1() {
        assert_eq!(share("0.8"), Ok(0.8));
        for wrong in ["", "x", "1.1", "-0.1", "NaN", "inf"] {
            assert!(share(wrong).is_err_and(|hint| hint.contains("try 0.8")), "{wrong}");
        }
    }
}

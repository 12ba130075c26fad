//! What values of several subcommands' flags are checked by.

use weir_collector::Shares;

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
        _ => return Err(wrong()),
    };
    Ok((number * unit) as usize)
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
        ];
        for (text, bytes) in sizes {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "GiB", "-1GiB", "1TiB", "1 G i", "much"] {
            assert!(size(wrong).is_err_and(|hint| hint.contains("try 1GiB")), "{wrong}");
        }
        assert!(memory("1MiB").is_err_and(|hint| hint.contains("256 MiB")));
    }

    #[test]
    fn a_confidence_is_between_0_and_1() {
        assert_eq!(share("0.8"), Ok(0.8));
        for wrong in ["", "x", "1.1", "-0.1", "NaN", "inf"] {
            assert!(share(wrong).is_err_and(|hint| hint.contains("try 0.8")), "{wrong}");
        }
    }
}

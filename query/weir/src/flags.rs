//! What values of several subcommands' flags are checked by.

/// A share between 0 and 1, such as a confidence.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a confidence is between 0 and 1 (try 0.8)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confidence_is_between_0_and_1() {
        assert_eq!(share("0.8"), Ok(0.8));
        for wrong in ["", "x", "1.1", "-0.1", "NaN", "inf"] {
            assert!(share(wrong).is_err_and(|hint| hint.contains("try 0.8")), "{wrong}");
        }
    }
}

//! How far our clock is from others, in words.

/// Where our clock is when others are so many milliseconds ahead of it.
pub(super) fn offset(millis: i64) -> String {
    let seconds = millis.unsigned_abs() / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let way = if millis >= 0 { "behind" } else { "ahead of" };
    format!("{hours} h {minutes} min {seconds} s {way}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_others_are_ahead_of_is_behind() {
        assert_eq!(offset(3 * 3_600_000 + 61_999), "3 h 1 min 1 s behind");
        assert_eq!(offset(-7_201_000), "2 h 0 min 1 s ahead of");
        assert!(offset(i64::MIN).ends_with("ahead of"));
    }
}

//! Numbers as a line of bars, one character each.

use std::time::Duration;

/// Eight heights, and the same for terminals that have no such characters.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PLAIN_BARS: [char; 8] = ['_', '.', ',', '-', '~', '+', '*', '#'];

/// Whether the language settings of this process say UTF-8.
pub(super) fn is_utf8() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let value = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let value = value.to_ascii_lowercase();
    value.contains("utf-8") || value.contains("utf8")
}

/// The times in order, in at most `width` bars from zero to the longest; of several that share a bar, the longest.
pub(super) fn of(times: &[Duration], width: usize, utf8: bool) -> String {
    let bars = if utf8 { BARS } else { PLAIN_BARS };
    let each = times.len().div_ceil(width.max(1)).max(1);
    let longest: Vec<Duration> =
        times.chunks(each).map(|part| part.iter().copied().max().unwrap_or_default()).collect();
    let top = longest.iter().copied().max().unwrap_or_default().as_nanos().max(1);
    let level = |time: &Duration| usize::try_from(time.as_nanos() * 7 / top).unwrap_or(7).min(7);
    longest.iter().filter_map(|time| bars.get(level(time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_is_the_highest_bar_and_many_share_a_few() {
        let ms = Duration::from_millis;
        assert_eq!(of(&[ms(0), ms(5), ms(10)], 10, true), "▁▄█");
        assert_eq!(of(&[ms(0), ms(5), ms(10)], 10, false), "_-#");
        let many: Vec<Duration> = (0..1000).map(ms).collect();
        assert_eq!(of(&many, 8, true).chars().count(), 8);
        assert!(of(&many, 8, true).ends_with('█') && of(&many, 8, true).starts_with('▁'));
        assert_eq!((of(&[], 8, true), of(&[ms(0)], 8, true)), (String::new(), "▁".to_owned()));
    }
}

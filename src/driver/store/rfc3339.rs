//! Wall-clock times as RFC 3339 text: written in one form, read in the forms that other programs write.

use core::time::Duration;
use std::time::SystemTime;

use crate::time::UnixTime;

/// The last millisecond of the year 9999, the last that the form can say.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// `time` in UTC with milliseconds; times before 1970 and after 9999 as the nearest that can be said.
pub(super) fn format(time: UnixTime) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(0).min(LAST_MILLIS);
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

/// A time with `Z`, an offset, or neither (then UTC), and any number of decimals; before 1970 is 1970. `None` when it is no time.
pub(super) fn parse(text: &str) -> Option<UnixTime> {
    let (local, offset) = split_offset(text.trim())?;
    let (whole, decimals) = local.split_once('.').unwrap_or((local, "0"));
    if decimals.is_empty() || !decimals.bytes().all(|digit| digit.is_ascii_digit()) || !whole.is_ascii() {
        return None;
    }
    let millis: String = decimals.chars().chain("00".chars()).take(3).collect();
    let seconds = match humantime::parse_rfc3339_weak(whole) {
        Ok(time) => time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        // Such as the C# library's "never", the first day of the year 1: sound but for the year.
        Err(_)
            if whole.get(..4)? < "1970"
                && humantime::parse_rfc3339_weak(&format!("2000{}", whole.get(4..)?)).is_ok() =>
        {
            return Some(UnixTime::default());
        }
        Err(_) => return None,
    };
    let millis = i64::try_from(seconds).ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)?;
    Some(UnixTime::from_millis(millis.checked_sub(offset.checked_mul(1000)?)?.max(0)))
}

/// The local time and its offset from UTC in seconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, 0));
    }
    // The date has hyphens too, so a sign counts only after the time began.
    let begins = text.find(['T', 't', ' '])?;
    let Some(sign) = text.rfind(['+', '-']).filter(|sign| *sign > begins) else { return Some((text, 0)) };
    let (local, offset) = text.split_at_checked(sign)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |text: &str| text.parse::<u8>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
    (hours < 24 && minutes < 60).then_some((local, if offset.starts_with('-') { -seconds } else { seconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dotnet_writes_is_read() {
        let expected = UnixTime::from_millis(1_704_164_645_123);
        for text in [
            "2024-01-02T03:04:05.1234567Z",
            "2024-01-02T03:04:05.1234567+00:00",
            "2024-01-02T03:04:05.123",
            "2024-01-02T05:04:05.123+02:00",
            "2024-01-01T21:34:05.123-05:30",
            "2024-01-02 03:04:05.123Z",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(parse("2024-01-02T03:04:05Z"), Some(UnixTime::from_secs(1_704_164_645)));
        assert_eq!(parse("2024-01-02T03:04:05.5Z"), Some(UnixTime::from_millis(1_704_164_645_500)));
        assert_eq!(parse("0001-01-01T00:00:00"), Some(UnixTime::default()));
        assert_eq!(parse("9999-12-31T23:59:59.9999999-23:59").map(|time| time > expected), Some(true));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2024",
            "2024-13-01T00:00:00Z",
            "2024-01-02T03:04:05.Z",
            "2024-01-02T03:04:05+2",
            "T+00:00",
            "2024-01-02T03:04:05+24:00",
            "0001-13-01T00:00:00",
            "2024-01-02T03:04:05.1x3Z",
            "é",
            "2024-01-02Té",
            "-é:00",
            "T-é0:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for millis in [0, 1, 1_700_000_000_123, LAST_MILLIS as i64] {
            assert_eq!(parse(&format(UnixTime::from_millis(millis))), Some(UnixTime::from_millis(millis)));
        }
        assert_eq!(format(UnixTime::from_millis(i64::MIN)), "1970-01-01T00:00:00.000Z");
        assert_eq!(format(UnixTime::from_millis(i64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}

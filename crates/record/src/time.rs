//! Time and randomness, passed in and never taken from the air, and the one form a time has in a
//! record: `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always 27 characters (a profile of RFC 3339).

use std::fmt;

use crate::encoding::text_serde;

/// Tells the time. The only implementation that asks the machine is in the CLI.
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;
}

/// Draws random bytes. The only implementation that asks the machine is in the CLI.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with bytes fit for keys.
    fn fill(&self, bytes: &mut [u8]);
}

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl Timestamp {
    /// The earliest time a record can say, 0000-01-01T00:00:00.000000Z.
    pub const MIN: Self = Self(-62_167_219_200 * MICROS_PER_SECOND);
    /// The latest time a record can say, 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_800 * MICROS_PER_SECOND - 1);

    /// From `YYYY-MM-DDTHH:MM:SS.ffffffZ`; `None` where the form differs, the date does not exist
    /// or a second is 60.
    pub fn parse(text: &str) -> Option<Self> {
        let text: &[u8; 27] = text.as_bytes().try_into().ok()?;
        let separators = [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
        ];
        if text[26] != b'Z' || separators.iter().any(|&(at, byte)| text[at] != byte) {
            return None;
        }
        let (year, month, day) = (
            digits(&text[0..4])?,
            digits(&text[5..7])?,
            digits(&text[8..10])?,
        );
        let (hour, minute, second) = (
            digits(&text[11..13])?,
            digits(&text[14..16])?,
            digits(&text[17..19])?,
        );
        let micros = digits(&text[20..26])?;
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY
            + hour * 3_600
            + minute * 60
            + second;
        Some(Self(seconds * MICROS_PER_SECOND + micros))
    }

    /// The number of microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for Timestamp {
    /// The 27 characters; times outside [`Timestamp::MIN`]..=[`Timestamp::MAX`] are shown as the
    /// nearer of these.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = (*self).clamp(Self::MIN, Self::MAX).0;
        let seconds = micros.div_euclid(MICROS_PER_SECOND);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60,
            micros.rem_euclid(MICROS_PER_SECOND)
        )
    }
}

text_serde!(Timestamp, "a time like 2026-11-23T08:00:00.123456Z");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (text, micros) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T12:00:00.000001Z", 951_825_600_000_001),
            ("2026-11-23T08:00:00.123456Z", 1_795_420_800_123_456),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("0000-01-01T00:00:00.000000Z", Timestamp::MIN.0),
            ("9999-12-31T23:59:59.999999Z", Timestamp::MAX.0),
        ] {
            assert_eq!(Timestamp::parse(text), Some(Timestamp(micros)), "{text}");
            assert_eq!(Timestamp(micros).to_string(), text);
        }
    }

    #[test]
    fn refused_times() {
        for text in [
            "2026-02-29T00:00:00.000000Z",
            "1900-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-00-01T00:00:00.000000Z",
            "2026-01-00T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:60:00.000000Z",
            "2026-01-01T00:00:60.000000Z",
            "2026-01-01T00:00:00.00000Z",
            "2026-01-01T00:00:00Z",
            "2026-01-01 00:00:00.000000Z",
            "2026-01-01T00:00:00.000000z",
            "+026-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}

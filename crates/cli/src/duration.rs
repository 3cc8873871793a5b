//! Durations as people write them on a command line.

use std::time::Duration;

/// Reads `90s`, `30m`, `1h` or `1d`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        unit => return Err(format!("no unit `{unit}`: give s, m, h or d")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "expected a number and s, m, h or d")?;
    let seconds = number
        .checked_mul(scale)
        .filter(|s| (1..=u64::from(u32::MAX)).contains(s));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "expected at least a second, and less than a century".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1_800));
        assert_eq!(seconds("1h"), Ok(3_600));
        assert_eq!(seconds("2d"), Ok(172_800));
        for wrong in ["", "h", "0s", "1w", "-1h", "1.5h", "99999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

//! Times as platforms write them.

use record::Timestamp;

/// From RFC 3339, or the same without an offset, which is UTC: Argilla leaves it out.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let micros = text
        .parse::<jiff::Timestamp>()
        .or_else(|_| {
            let civil: jiff::civil::DateTime = text.parse()?;
            civil
                .to_zoned(jiff::tz::TimeZone::UTC)
                .map(|zoned| zoned.timestamp())
        })
        .ok()?
        .as_microsecond();
    let time = Timestamp(micros);
    (Timestamp::MIN <= time && time <= Timestamp::MAX).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_an_offset_and_without_one() {
        for (text, shown) in [
            ("2021-08-17T13:52:48.536303Z", "2021-08-17T13:52:48.536303Z"),
            ("2021-08-17T15:52:48.5+02:00", "2021-08-17T13:52:48.500000Z"),
            ("2021-08-17T13:52:48", "2021-08-17T13:52:48.000000Z"),
            ("2021-08-17 13:52:48.000001", "2021-08-17T13:52:48.000001Z"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
        }
        for bad in ["", "yesterday", "2021-02-30T00:00:00Z", "1629208368"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

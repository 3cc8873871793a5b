//! Numbers as people read them; always the same way, whatever the machine's locale.
//!
//! Each takes a number or a reference to one, since templates hand over references.

use std::{borrow::Borrow, fmt};

/// A count with its thousands apart: `3,000`.
pub(crate) struct Count<T>(pub(crate) T);

impl<T: Borrow<u64>> fmt::Display for Count<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.borrow().to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A measured number with four significant digits: `0.5931`, `12.5`, `1.2e-7`.
pub(crate) struct Number<T>(pub(crate) T);

impl<T: Borrow<f64>> fmt::Display for Number<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = *self.0.borrow();
        let size = value.abs();
        let text = if value == 0.0 {
            return f.write_str("0");
        } else if (1e-4..1e6).contains(&size) {
            // Digits before the point, less than one for 0.0…: what is left of the four.
            let before = size.log10().floor() as i32 + 1;
            let after = usize::try_from(4 - before).unwrap_or(0);
            format!("{value:.after$}")
        } else {
            return write_scientific(f, value);
        };
        f.write_str(without_trailing_zeros(&text))
    }
}

fn write_scientific(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let text = format!("{value:.3e}");
    match text.split_once('e') {
        Some((digits, power)) => write!(f, "{}e{power}", without_trailing_zeros(digits)),
        None => f.write_str(&text),
    }
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A share of one as `87.2 %`.
pub(crate) struct Percent<T>(pub(crate) T);

impl<T: Borrow<f64>> fmt::Display for Percent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0.borrow() * 100.0)
    }
}

/// Bytes as `745,268 bytes`, and from 10,000 on in a handier unit too.
pub(crate) struct Bytes<T>(pub(crate) T);

impl<T: Borrow<u64>> fmt::Display for Bytes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = *self.0.borrow();
        write!(f, "{} bytes", Count(bytes))?;
        let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units
            .into_iter()
            .find(|(size, _)| bytes >= *size && bytes >= 10_000)
        {
            Some((size, unit)) => write!(f, " ({:.1} {unit})", bytes as f64 / size as f64),
            None => Ok(()),
        }
    }
}

/// A setting's value: texts without JSON's quotes.
pub(crate) fn scalar(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A time of a record (27 characters) to the second: `2026-11-23 08:00:00 UTC`.
pub(crate) fn moment(time: &str) -> String {
    match (time.get(..10), time.get(11..19)) {
        (Some(date), Some(clock)) => format!("{date} {clock} UTC"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.593_147, "0.5931"),
            (-12.5, "-12.5"),
            (99_999.6, "100000"),
            (0.000_123_47, "0.0001235"),
            (0.000_000_12, "1.2e-7"),
            (1.5e9, "1.5e9"),
            (1.0, "1"),
        ] {
            assert_eq!(Number(value).to_string(), text);
        }
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!(Count(100).to_string(), "100");
        assert_eq!(Bytes(745_268).to_string(), "745,268 bytes (727.8 KiB)");
        assert_eq!(Percent(0.872).to_string(), "87.2 %");
        assert_eq!(
            moment("2026-11-23T08:00:00.123456Z"),
            "2026-11-23 08:00:00 UTC"
        );
    }
}

//! Plots as SVG that stands inside a page: no script, no fixed colour, no fixed font.
//!
//! What is drawn has classes and takes its colours from the page's style sheet, so that one plot
//! serves light and dark; each mark says its value and its record when it is pointed at, by a
//! `<title>` as browsers show it. Everything is a function of the data alone.

use std::fmt::Write as _;

use crate::{
    agreement::Agreement,
    escape,
    figure::{Count, Number, Percent},
    histogram::Histogram,
    series::{Point, Series},
};

/// The units are pixels of a page at its full width, so that text has one size in all plots.
const HALF: f64 = 500.0;
const FULL: f64 = 1_024.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 38.0;

/// Dots are drawn up to so many points; more would be a smear.
const MAX_DOTS: usize = 90;

/// A plot's frame: where values lie.
struct Frame {
    width: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (self.width - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let value = value.clamp(self.y.0, self.y.1);
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// A quantity over steps: a line, dots that can be pointed at, the last value written out.
/// `full` is as wide as the page, else half of it.
pub(crate) fn line(series: &Series, name: &str, class: &str, full: bool) -> String {
    let width = if full { FULL } else { HALF };
    let points = by_step(&series.points);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let (low, high) = points
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| {
            (a.min(p.value), b.max(p.value))
        });
    let (ticks, y) = scale(low, high, 4);
    let (x_ticks, _) = scale(
        first.step as f64,
        last.step as f64,
        if full { 12 } else { 6 },
    );
    let x_end = if last.step > first.step {
        last.step as f64
    } else {
        first.step as f64 + 1.0
    };
    let frame = Frame {
        width,
        x: (first.step as f64, x_end),
        y,
    };

    let mut svg = open(
        width,
        HEIGHT,
        &format!("{name} over {} steps of training", points.len()),
    );
    grid(&mut svg, &frame, &ticks);
    for tick in x_ticks
        .iter()
        .filter(|t| t.fract() == 0.0 && **t >= frame.x.0 && **t <= frame.x.1)
    {
        let x = frame.x(*tick);
        let y = HEIGHT - BOTTOM + 16.0;
        put(
            &mut svg,
            format_args!(r#"<text class="tick mid" x="{x:.1}" y="{y:.1}">{tick}</text>"#),
        );
    }
    let (x, y) = ((LEFT + width - RIGHT) / 2.0, HEIGHT - 4.0);
    put(
        &mut svg,
        format_args!(r#"<text class="axis mid" x="{x:.1}" y="{y:.1}">step</text>"#),
    );

    let mut path = String::new();
    for (i, point) in points.iter().enumerate() {
        let (x, y) = (frame.x(point.step as f64), frame.y(point.value));
        put(
            &mut path,
            format_args!("{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" }),
        );
    }
    let (bottom, left, right) = (
        HEIGHT - BOTTOM,
        frame.x(first.step as f64),
        frame.x(last.step as f64),
    );
    put(
        &mut svg,
        format_args!(
            r#"<path class="area {class}" d="{path}L{right:.1} {bottom:.1}L{left:.1} {bottom:.1}Z"/><path class="line {class}" d="{path}"/>"#
        ),
    );
    let marked = points.len() <= MAX_DOTS;
    for (i, point) in points.iter().enumerate() {
        let end = i + 1 == points.len();
        if !marked && !end {
            continue;
        }
        let (x, y) = (frame.x(point.step as f64), frame.y(point.value));
        let radius = if end { 4.0 } else { 2.4 };
        let (value, step, index) = (Number(point.value), point.step, point.index);
        put(
            &mut svg,
            format_args!(
                r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>step {step}: {value} [#{index}]</title></circle>"#
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Counts over time as bars.
pub(crate) fn bars(histogram: &Histogram, name: &str) -> String {
    let Some(most) = histogram.bins.iter().map(|bin| bin.count).max() else {
        return String::new();
    };
    let (ticks, y) = scale(0.0, most as f64, 4);
    let count = histogram.bins.len();
    // Few bars would be slabs: the frame is at least as wide as for a dozen.
    let frame = Frame {
        width: FULL,
        x: (0.0, count.max(12) as f64),
        y,
    };
    let mut svg = open(
        FULL,
        HEIGHT,
        &format!("{name}: {count} bars of {}", histogram.width()),
    );
    grid(&mut svg, &frame, &ticks);
    let bottom = HEIGHT - BOTTOM;
    for (i, bin) in histogram.bins.iter().enumerate() {
        let (left, right) = (frame.x(i as f64), frame.x(i as f64 + 1.0));
        let gap = ((right - left) * 0.12).min(2.0);
        let top = frame.y(bin.count as f64);
        let (x, width, height) = (left + gap / 2.0, right - left - gap, bottom - top);
        let round = 2.0_f64.min(height).min(width / 2.0);
        let (label, from) = (Count(bin.count), escape::page(&bin.from));
        put(
            &mut svg,
            format_args!(
                r#"<rect class="bar" x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" rx="{round:.1}"><title>from {from}: {label}</title></rect>"#
            ),
        );
    }
    let labels = labelled(count);
    for i in labels {
        let x = frame.x(i as f64);
        let y = bottom + 16.0;
        let (date, clock) = time_label(&histogram.bins[i].from, histogram.width_us);
        let class = if i == 0 { "tick" } else { "tick mid" };
        put(
            &mut svg,
            format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{clock}</text>"#),
        );
        if i == 0 {
            let y = HEIGHT - 4.0;
            put(
                &mut svg,
                format_args!(r#"<text class="axis" x="{x:.1}" y="{y:.1}">{date}</text>"#),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Each annotator's agreement with the others, as bars from 0 to 100 %.
pub(crate) fn annotators(agreement: &Agreement, shown: usize) -> String {
    const ROW: f64 = 24.0;
    const NAME: f64 = 104.0;
    let rows = &agreement.annotators[..agreement.annotators.len().min(shown)];
    if rows.is_empty() {
        return String::new();
    }
    let height = rows.len() as f64 * ROW + 26.0;
    let mut svg = open(HALF, height, "Agreement of each annotator with the others");
    let x = |share: f64| NAME + share * (HALF - NAME - 60.0);
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (at, bottom, y) = (x(share), height - 20.0, height - 6.0);
        let label = share * 100.0;
        put(
            &mut svg,
            format_args!(
                r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="0" y2="{bottom:.1}"/><text class="tick mid" x="{at:.1}" y="{y:.1}">{label} %</text>"#
            ),
        );
    }
    for (i, row) in rows.iter().enumerate() {
        let y = i as f64 * ROW;
        let (text, bar, width) = (y + 16.0, y + 5.0, x(row.equal_pairs) - NAME);
        let (name, share) = (
            escape::page(short(&row.annotator)),
            Percent(row.equal_pairs),
        );
        let (full, label_x) = (escape::page(&row.annotator), x(row.equal_pairs) + 6.0);
        let judgements = Count(row.judgements.value);
        put(
            &mut svg,
            format_args!(
                r#"<g><title>{full}: {share} of pairs equal, {judgements} judgements</title><text class="name" x="0" y="{text:.1}">{name}</text><rect class="bar agree" x="{NAME}" y="{bar:.1}" width="{width:.1}" height="14" rx="2"/><text class="value" x="{label_x:.1}" y="{text:.1}">{share}</text></g>"#
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Who agrees with whom, as a square of shaded cells.
pub(crate) fn matrix(agreement: &Agreement) -> String {
    const NAME: f64 = 104.0;
    let size = agreement.annotators.len().min(crate::agreement::MATRIX);
    if size < 2 || agreement.matrix.is_empty() {
        return String::new();
    }
    let whole = ((HALF - NAME) / size as f64).clamp(30.0, 46.0);
    let extent = size as f64 * whole;
    let mut svg = open(HALF, extent + 24.0, "Agreement of each two annotators");
    for (i, row) in agreement.annotators[..size].iter().enumerate() {
        let (y, name) = (
            (i as f64 + 0.5) * whole + 4.0,
            escape::page(short(&row.annotator)),
        );
        let (x, bottom, number) = (NAME + (i as f64 + 0.5) * whole, extent + 16.0, i + 1);
        put(
            &mut svg,
            format_args!(
                r#"<text class="name" x="0" y="{y:.1}">{number} {name}</text><text class="tick mid" x="{x:.1}" y="{bottom:.1}">{number}</text>"#
            ),
        );
        let (x, y) = (NAME + i as f64 * whole + 1.0, i as f64 * whole + 1.0);
        let cell = whole - 2.0;
        put(
            &mut svg,
            format_args!(
                r#"<rect class="self" x="{x:.1}" y="{y:.1}" width="{cell:.1}" height="{cell:.1}" rx="3"/>"#
            ),
        );
    }
    for pair in &agreement.matrix {
        for (row, column) in [(pair.a, pair.b), (pair.b, pair.a)] {
            let (x, y) = (NAME + column as f64 * whole + 1.0, row as f64 * whole + 1.0);
            let cell = whole - 2.0;
            // Half of all pairs equal is about chance for two choices: shading begins there.
            let opacity = ((pair.equal - 0.4) / 0.6).clamp(0.06, 1.0);
            let ink = if opacity > 0.55 { " on" } else { "" };
            let (text_x, text_y) = (x + cell / 2.0, y + cell / 2.0 + 4.0);
            let (percent, share) = (pair.equal * 100.0, Percent(pair.equal));
            let items = Count(pair.items);
            let (a, b) = (row + 1, column + 1);
            put(
                &mut svg,
                format_args!(
                    r#"<g><title>{a} and {b}: {share} of {items} items</title><rect class="cell" x="{x:.1}" y="{y:.1}" width="{cell:.1}" height="{cell:.1}" rx="3" fill-opacity="{opacity:.2}"/><text class="cell-text{ink}" x="{text_x:.1}" y="{text_y:.1}">{percent:.0}</text></g>"#
                ),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// The beginning of a pseudonym, enough to tell annotators of a run apart.
pub(crate) fn short(pseudonym: &str) -> &str {
    pseudonym.get(..10).unwrap_or(pseudonym)
}

fn open(width: f64, height: f64, label: &str) -> String {
    let label = escape::page(label);
    format!(
        r#"<svg class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg">"#
    )
}

fn put(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = svg.write_fmt(arguments);
}

/// Horizontal lines with their values.
fn grid(svg: &mut String, frame: &Frame, ticks: &[f64]) {
    for tick in ticks {
        let (y, right) = (frame.y(*tick), frame.width - RIGHT);
        let (text_x, text_y, value) = (LEFT - 8.0, y + 4.0, Number(*tick));
        put(
            svg,
            format_args!(
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text class="tick end" x="{text_x:.1}" y="{text_y:.1}">{value}</text>"#
            ),
        );
    }
}

/// One point a step: the mean where several records have the same, of several ranks for instance.
fn by_step(points: &[Point]) -> Vec<Point> {
    points
        .chunk_by(|a, b| a.step == b.step)
        .map(|same| Point {
            value: same.iter().map(|p| p.value).sum::<f64>() / same.len() as f64,
            ..same[0]
        })
        .collect()
}

/// Beyond this an axis ends; what lies farther out is drawn at its end. Differences of values within
/// it are finite.
const FARTHEST: f64 = 1e300;

/// More than ever come out: a bound on the loop, not on the axis.
const MAX_TICKS: usize = 32;

/// Round values that enclose `low..high`, about `wanted` of them, and the ends of the axis.
fn scale(low: f64, high: f64, wanted: usize) -> (Vec<f64>, (f64, f64)) {
    let low = low.clamp(-FARTHEST, FARTHEST);
    let high = high.clamp(-FARTHEST, FARTHEST);
    let size = low.abs().max(high.abs());
    // Below this difference neighbouring ticks would be the same double, or have no exponent.
    let (low, high) = if high - low > (size * 1e-9).max(1e-290) {
        (low, high)
    } else {
        // A constant lies in the middle.
        let around = if size < 1e-280 { 1.0 } else { size * 0.1 };
        (low - around, high + around)
    };
    let raw = (high - low) / wanted as f64;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| *step >= raw)
        .unwrap_or(raw);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    // As multiples of the step, so that no sum of rounding errors is shown.
    let mut ticks = Vec::new();
    let mut times = first;
    while times <= last && ticks.len() < MAX_TICKS {
        ticks.push(times * step);
        times += 1.0;
    }
    (ticks, (first * step, last * step))
}

/// Which bars are labelled: about eight, evenly.
fn labelled(count: usize) -> Vec<usize> {
    let every = count.div_ceil(8).max(1);
    (0..count).step_by(every).collect()
}

/// A record's time as a date and as what is worth saying of bars this long.
fn time_label(time: &str, width_us: i64) -> (&str, &str) {
    let date = time.get(..10).unwrap_or(time);
    let clock = match width_us {
        86_400_000_000.. => time.get(5..10),
        60_000_000.. => time.get(11..16),
        1_000_000.. => time.get(11..19),
        _ => time.get(14..23),
    };
    (date, clock.unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use tlog::LeafIndex;

    use super::*;

    #[test]
    fn axes_are_round_and_enclose() {
        for (low, high) in [
            (0.0, 7.3),
            (-0.02, 0.013),
            (1e6, 1.1e6),
            (5.0, 5.0),
            (0.0, 0.0),
        ] {
            let (ticks, (first, last)) = scale(low, high, 4);
            assert!(first <= low && high <= last, "{low} {high}: {ticks:?}");
            assert!((3..=7).contains(&ticks.len()), "{low} {high}: {ticks:?}");
        }
    }

    #[test]
    fn extreme_values_are_drawn_within_the_frame() {
        for values in [
            [f64::MIN, f64::MAX],
            [f64::MAX, f64::MAX],
            [1e16, 1e16 + 2.0],
            [0.0, f64::MIN_POSITIVE],
            [-5e-324, 5e-324],
        ] {
            let mut series = Series::default();
            for (step, value) in [(0, values[0]), (u64::MAX / 4096, values[1])] {
                series.add(step, value, LeafIndex(step));
            }
            series.finish();
            let svg = line(&series, "x", "y", false);
            assert!(
                !svg.contains("NaN") && !svg.contains("inf"),
                "{values:?}: {svg}"
            );
            assert!(
                (3..=8).contains(&svg.matches("tick end").count()),
                "{values:?}"
            );
        }
    }

    #[test]
    fn ranks_of_one_step_are_one_point() {
        let mut series = Series::default();
        for (step, value, index) in [(2, 1.0, 7), (1, 0.5, 6), (2, 3.0, 8)] {
            series.add(step, value, LeafIndex(index));
        }
        series.finish();
        let points = by_step(&series.points);
        assert_eq!(
            points.iter().map(|p| (p.step, p.value)).collect::<Vec<_>>(),
            [(1, 0.5), (2, 2.0)]
        );
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        assert_eq!(line(&Series::default(), "x", "y", true), "");
        assert_eq!(bars(&Histogram::default(), "x"), "");
    }
}

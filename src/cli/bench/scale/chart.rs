//! Curves of figures over the number of sessions, as a picture.

use std::fmt::Write as _;

use crate::cli::bench::report::Rows;

/// The size of a panel, and the place of its plot in it.
const PANEL: (f64, f64) = (330.0, 230.0);
const LEFT: f64 = 50.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 34.0;

/// The number of panels beside each other.
const ACROSS: usize = 3;

/// The colours of the lines of a panel.
const COLOURS: [&str; 2] = ["#1a6fb5", "#b5521a"];

/// A panel: its title, and the columns that are drawn in it, with the names of their lines.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) lines: &'static [(&'static str, &'static str)],
}

/// Draws the panels over the column `sessions`, whose axis is logarithmic. The other axis of each panel begins at 0,
/// so a flat line is a figure that does not depend on the number of sessions.
pub(super) fn svg(rows: &Rows, panels: &[Panel], caption: &str) -> String {
    let (width, height) = PANEL;
    let down = panels.len().div_ceil(ACROSS);
    let (whole, all) = (width * number(ACROSS), height * number(down) + 24.0);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {all}\" width=\"{whole}\" \
         height=\"{all}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{whole}\" height=\"{all}\" fill=\"#ffffff\"/>\n"
    );
    for (place, panel) in panels.iter().enumerate() {
        let (x, y) = (width * number(place % ACROSS), height * number(place / ACROSS));
        let _infallible = writeln!(picture, "<g transform=\"translate({x} {y})\">");
        draw(&mut picture, rows, panel);
        picture.push_str("</g>\n");
    }
    let _infallible = writeln!(
        picture,
        "<text x=\"12\" y=\"{}\" fill=\"#555555\">{}</text>\n</svg>",
        all - 9.0,
        escaped(caption)
    );
    picture
}

fn draw(picture: &mut String, rows: &Rows, panel: &Panel) {
    let (width, height) = PANEL;
    let sizes = rows.column("sessions");
    let logs: Vec<f64> = sizes.iter().map(|size| size.max(1.0).log10()).collect();
    let first = logs.iter().copied().fold(f64::MAX, f64::min);
    let last = logs.iter().copied().fold(0.0, f64::max);
    let span = (last - first).max(1e-9);
    let across = |log: f64| LEFT + (log - first) / span * (width - LEFT - RIGHT);
    let columns: Vec<_> =
        panel.lines.iter().map(|(column, name)| (rows.column(column), *name)).collect();
    let highest = columns.iter().flat_map(|(figures, _)| figures).copied().fold(0.0, f64::max);
    let top = nice(highest);
    let up = |figure: f64| height - BOTTOM - figure / top * (height - TOP - BOTTOM);

    let _infallible = writeln!(
        picture,
        "<text x=\"{LEFT}\" y=\"16\" font-weight=\"bold\" fill=\"#222222\">{}</text>",
        escaped(panel.title)
    );
    for part in [0.0, 0.5, 1.0] {
        let (y, label) = (up(top * part), shown(top * part));
        let (end, text) = (width - RIGHT, LEFT - 6.0);
        let _infallible = writeln!(
            picture,
            "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#dddddd\"/>\
             <text x=\"{text}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{label}</text>",
            y + 4.0
        );
    }
    for (size, log) in sizes.iter().zip(&logs) {
        let _infallible = writeln!(
            picture,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555555\">{}</text>",
            across(*log),
            height - BOTTOM + 16.0,
            shown(*size)
        );
    }
    for (place, ((figures, name), colour)) in columns.iter().zip(COLOURS.iter().cycle()).enumerate()
    {
        let points: Vec<_> =
            logs.iter().zip(figures).map(|(log, figure)| (across(*log), up(*figure))).collect();
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _infallible = writeln!(
            picture,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for ((x, y), figure) in points.iter().zip(figures) {
            let _infallible = writeln!(
                picture,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\">\
                 <title>{}</title></circle>",
                shown(*figure)
            );
        }
        let _infallible = writeln!(
            picture,
            "<text x=\"{}\" y=\"32\" fill=\"{colour}\">{}</text>",
            LEFT + 90.0 * number(place),
            escaped(name)
        );
    }
}

/// The next of 1, 2 and 5, times a power of ten.
fn nice(highest: f64) -> f64 {
    let highest = highest.max(1e-3);
    let power = 10.0_f64.powf(highest.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|it| *it >= highest).unwrap_or(highest)
}

/// A figure with as many decimals as are of interest.
fn shown(figure: f64) -> String {
    if figure >= 20.0 || figure.fract() == 0.0 {
        format!("{figure:.0}")
    } else if figure >= 1.0 {
        format!("{figure:.1}")
    } else {
        format!("{figure:.2}")
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANELS: [Panel; 1] = [Panel { title: "Begin <ms>", lines: &[("begin p50", "p50")] }];

    #[test]
    fn a_line_has_a_point_for_each_size_and_a_flat_one_is_level() {
        let rows = Rows {
            columns: vec!["sessions", "begin p50"],
            rows: vec![vec![10.0, 1.5], vec![100.0, 1.5], vec![1000.0, 1.5]],
        };
        let picture = svg(&rows, &PANELS, "a & b");
        assert!(picture.contains("Begin &lt;ms&gt;") && picture.contains("a &amp; b"), "{picture}");
        let points = picture.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<(f64, f64)> = points
            .split(' ')
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        assert_eq!(points.len(), 3);
        let [(first, one), (middle, other), (last, third)] = points[..] else { panic!() };
        assert!((one - other).abs() < 0.01 && (other - third).abs() < 0.01);
        // The axis is logarithmic: a hundred is halfway from ten to a thousand.
        assert!((middle * 2.0 - first - last).abs() < 0.2, "{points:?}");
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (highest, expected) in [(0.0, 0.001), (0.7, 1.0), (1.0, 1.0), (1.2, 2.0), (34.0, 50.0)]
        {
            assert!((nice(highest) - expected).abs() < 1e-9, "{highest}");
        }
        assert_eq!(["0", "0.25", "1.2", "150"], [0.0, 0.25, 1.2, 150.0].map(shown)[..]);
    }
}

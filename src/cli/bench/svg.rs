//! The report as a picture: for each workload and window a bar of its throughput, and its latencies on a logarithmic
//! scale.

use super::figures::Figure;
use super::report::{Report, Row};

const ROW: f64 = 22.0;
const TOP: f64 = 46.0;
const BARS: f64 = 230.0;
const BARS_WIDTH: f64 = 250.0;
const DOTS: f64 = 570.0;
const DOTS_WIDTH: f64 = 330.0;
const WIDTH: f64 = 930.0;

/// The percentiles, from the lightest to the darkest.
const DOTS_OF: [(Figure, &str, &str); 3] =
    [(Figure::P50, "p50", "#9ecae1"), (Figure::P99, "p99", "#4292c6"), (Figure::P999, "p99.9", "#08306b")];

/// A whole SVG document.
pub(super) fn svg(report: &Report) -> String {
    let height = TOP + ROW * report.rows.len() as f64 + 16.0;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let mut add = |element: String| picture.push_str(&(element + "\n"));
    add(text(BARS, 18.0, "start", "commands a second"));
    for (index, (_, name, colour)) in DOTS_OF.iter().enumerate() {
        let x = DOTS + 120.0 + 60.0 * index as f64;
        add(dot(x, 14.0, colour, name));
        add(text(x + 8.0, 18.0, "start", name));
    }
    add(text(DOTS, 18.0, "start", "latency, ms"));
    let scale = Scale::of(report);
    for power in scale.low..=scale.high {
        let x = scale.x(10_f64.powi(power));
        let bottom = height - 12.0;
        add(format!("<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#ddd\"/>"));
        add(text(x, TOP - 6.0, "middle", &10_f64.powi(power).to_string()));
    }
    let fastest = report.rows.iter().filter_map(|row| row.median.get(Figure::PerSecond)).fold(1.0, f64::max);
    for (index, row) in report.rows.iter().enumerate() {
        let middle = TOP + ROW * (index as f64 + 0.5);
        row_of(row, middle, fastest, &scale).into_iter().for_each(&mut add);
    }
    picture + "</svg>\n"
}

fn row_of(row: &Row, middle: f64, fastest: f64, scale: &Scale) -> Vec<String> {
    let name = format!("{}, window {}", row.workload, row.window);
    let mut elements = vec![text(BARS - 8.0, middle + 4.0, "end", &name)];
    if let Some(rate) = row.median.get(Figure::PerSecond) {
        let (top, width) = (middle - 7.0, BARS_WIDTH * rate / fastest);
        let colour = if row.workload == "floor" { "#bbb" } else { "#41ab5d" };
        elements
            .push(format!("<rect x=\"{BARS}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>"));
        elements.push(text(BARS + width + 4.0, middle + 4.0, "start", &format!("{rate:.0}")));
    }
    for (figure, name, colour) in DOTS_OF {
        if let Some(ms) = row.median.get(figure) {
            elements.push(dot(scale.x(ms), middle, colour, &format!("{name}: {ms:.2} ms")));
        }
    }
    elements
}

/// Powers of ten that hold all latencies.
struct Scale {
    low: i32,
    high: i32,
}

impl Scale {
    fn of(report: &Report) -> Scale {
        let latencies = || {
            let of_row = |row: &Row| DOTS_OF.map(|(figure, ..)| row.median.get(figure));
            report.rows.iter().flat_map(of_row).flatten().filter(|ms| *ms > 0.0)
        };
        let (least, most) = (latencies().fold(1.0, f64::min), latencies().fold(1.0, f64::max));
        let low = least.log10().floor() as i32;
        Scale { low, high: (most.log10().ceil() as i32).max(low + 1) }
    }

    fn x(&self, ms: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        DOTS + DOTS_WIDTH * (ms.log10().clamp(low, high) - low) / (high - low)
    }
}

fn dot(x: f64, y: f64, colour: &str, title: &str) -> String {
    format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"><title>{title}</title></circle>")
}

/// What is written consists of our own words and of numbers, so nothing needs to be escaped.
fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

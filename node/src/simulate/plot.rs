//! How fast blocks spread, as a picture: the share of nodes that a block had reached, over time.

use spacetime_network::sim::Report;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 50.0;
/// Points of the curve.
const POINTS: usize = 200;
/// Lines of the grid, in each direction.
const GRID: u32 = 5;

/// An SVG of the cumulative share of deliveries over the time since a block was mined, up to the 99th percentile.
pub(super) fn spread(report: &Report) -> String {
    let mut millis: Vec<f64> = report.spread.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    let last = millis.get(millis.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(1.0).max(1.0);
    let x = |time: f64| MARGIN + time / last * (WIDTH - 2.0 * MARGIN);
    let y = |share: f64| HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">Blocks reach {} nodes: share over time, seed {}</text>\n",
        report.nodes, report.seed
    );
    for step in 0..=GRID {
        let part = f64::from(step) / f64::from(GRID);
        let (across, up) = (x(part * last), y(part));
        svg += &format!(
            "<path d=\"M{across:.1} {:.1}V{:.1}M{:.1} {up:.1}H{:.1}\" stroke=\"#ddd\" fill=\"none\"/>\n\
             <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0} ms</text>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>\n",
            y(0.0),
            y(1.0),
            x(0.0),
            x(last),
            y(0.0) + 16.0,
            part * last,
            x(0.0) - 6.0,
            up + 4.0,
            part * 100.0
        );
    }
    let mut points = String::new();
    for step in 0..=POINTS {
        let time = step as f64 / POINTS as f64 * last;
        let reached = millis.partition_point(|delivery| *delivery <= time);
        let share = reached as f64 / millis.len().max(1) as f64;
        points += &format!("{:.1},{:.1} ", x(time), y(share));
    }
    svg + &format!("<polyline points=\"{points}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>\n</svg>\n")
}

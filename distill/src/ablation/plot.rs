//! The scores of an ablation as a picture.

use super::{Score, Table, table::Summary};
use crate::report::surface::{Surface, TEXT};
use image::{Rgb, RgbImage};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::convert::Infallible;

/// Panels in a row.
const COLUMNS: usize = 3;
/// Columns of a panel for its scale.
const SCALE: u32 = 320;
/// Numbers on it, at most.
const LABELS: usize = 8;
/// Rows of a panel for each variant, and for its title and labels.
const VARIANT: u32 = 34;
const FRAME: u32 = 84;
/// Width of a letter.
const LETTER: u32 = 8;
const MARGIN: u32 = 16;
/// Rows for the line that says what is drawn.
const NOTE: u32 = 28;

type Area<'a> = DrawingArea<Surface<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<Infallible>>;
/// The name of a variant and the scores of its runs.
type Variant<'a> = (&'a str, Vec<&'a Score>);

/// AP (R40) of every variant, one panel for each set and class: each run as a dot on the interval of its resampled frames,
/// the mean over the runs as a stroke and their standard deviation as a band. `None` if no class has objects.
pub fn plot(table: &Table) -> Option<RgbImage> {
    let columns = table.columns();
    let longest = columns.iter().flat_map(|column| table.variants(column)).map(|(name, _)| name.chars().count()).max()?;
    let (labels, count) = (longest as u32 * LETTER + MARGIN, table.variants(&columns[0]).len() as u32);
    let across = columns.len().min(COLUMNS);
    let down = columns.len().div_ceil(across);
    let panel_size = (labels + SCALE + MARGIN, count * VARIANT + FRAME);
    let note = format!(
        "AP (R40, {}), percent. dot: a run, line: its 95 % over frames; stroke, band: mean, deviation over runs",
        table.difficulty()
    );
    let width = (panel_size.0 * across as u32).max((note.chars().count() as u32) * LETTER + 2 * MARGIN);
    let mut image = RgbImage::from_pixel(width, panel_size.1 * down as u32 + NOTE, Rgb([255; 3]));
    let root = Surface(&mut image).into_drawing_area();
    let draw = || -> Drawn {
        root.draw(&Text::new(note, (MARGIN as i32, 10), TEXT.into_text_style(&root)))?;
        let (_, panels) = root.split_vertically(NOTE);
        for (area, column) in panels.split_evenly((down, across)).iter().zip(&columns) {
            let title = format!("{} {}", column.0, column.1);
            panel(area, &title, labels, &table.variants(column).collect::<Vec<_>>())?;
        }
        Ok(())
    };
    draw().expect("drawing into memory");
    drop(root);
    Some(image)
}

fn panel(area: &Area<'_>, title: &str, labels: u32, variants: &[Variant<'_>]) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin_right(MARGIN)
        .caption(title, TEXT)
        .x_label_area_size(34)
        .y_label_area_size(labels)
        .build_cartesian_2d(range(variants), 0.0..variants.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_labels(LABELS)
        .x_label_formatter(&|ap| format!("{}", (ap * 10.0).round() / 10.0))
        .max_light_lines(0)
        .draw()?;
    for (index, (name, scores)) in variants.iter().enumerate() {
        let (colour, middle) = (colour(index), (variants.len() - index) as f64 - 0.5);
        let (right, row) = chart.backend_coord(&(chart.x_range().start, middle));
        let (left, top) = area.get_base_pixel();
        let style = TEXT.into_text_style(area).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(*name, (right - left - 8, row - top), style))?;

        let values: Vec<f64> = scores.iter().filter_map(|score| score.ap).collect();
        let Some(Summary { mean, deviation, .. }) = Summary::of(&values) else { continue };
        let (low, high) = (middle - 0.4, middle + 0.4);
        if let Some(deviation) = deviation {
            let band = [(mean - deviation, low), (mean + deviation, high)];
            chart.draw_series([Rectangle::new(band, colour.mix(0.15).filled())])?;
        }
        chart.draw_series([PathElement::new(vec![(mean, low), (mean, high)], BLACK.stroke_width(2))])?;
        let apart = 0.6 / scores.len() as f64;
        for (run, score) in scores.iter().enumerate() {
            let y = middle + apart * ((scores.len() - 1) as f64 / 2.0 - run as f64);
            if let Some([low, high]) = score.interval {
                chart.draw_series([PathElement::new(vec![(low, y), (high, y)], colour.mix(0.6))])?;
            }
            chart.draw_series(score.ap.map(|ap| Circle::new((ap, y), 3, colour.filled())))?;
        }
    }
    Ok(())
}

/// Hues a golden ratio of the circle apart, dark enough for thin lines.
fn colour(index: usize) -> RGBColor {
    let (r, g, b) = HSLColor((0.6 + 0.618 * index as f64).fract(), 0.7, 0.4).to_backend_color().rgb;
    RGBColor(r, g, b)
}

/// What the scale of a panel spans: everything that is drawn, and a little more.
fn range(variants: &[Variant<'_>]) -> std::ops::Range<f64> {
    let ends = variants.iter().flat_map(|(_, scores)| {
        let values: Vec<f64> = scores.iter().filter_map(|score| score.ap).collect();
        let band = Summary::of(&values).and_then(|s| Some([s.mean - s.deviation?, s.mean + s.deviation?]));
        let intervals = scores.iter().filter_map(|score| score.interval).flatten();
        values.into_iter().chain(intervals).chain(band.into_iter().flatten()).collect::<Vec<_>>()
    });
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    if low > high {
        return 0.0..100.0; // nothing to draw
    }
    let more = (0.05 * (high - low)).max(0.5);
    low - more..high + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablation::Scores;

    fn scores(class: &str, ap: Option<f64>, interval: Option<[f64; 2]>) -> Scores {
        let row = Score { set: "test".into(), class: class.into(), difficulty: "moderate".into(), objects: 9, ap, interval };
        Scores { bytes: 1, rows: vec![row] }
    }

    /// Columns, as first and last, that hold a colour mixed with white.
    fn extent(image: &RgbImage, index: usize, share: f64) -> (f64, f64) {
        let RGBColor(r, g, b) = colour(index);
        let blend = |new: u8| (255.0 + (f64::from(new) - 255.0) * share).round() as u8;
        let wanted = Rgb([r, g, b].map(blend));
        let columns = image.enumerate_pixels().filter(|(_, _, pixel)| **pixel == wanted).map(|(x, _, _)| f64::from(x));
        columns.fold((f64::INFINITY, 0.0), |(low, high), x| (low.min(x), high.max(x)))
    }

    #[test]
    fn dots_intervals_and_bands_stand_where_their_values_are() {
        let mut table = Table::new("moderate");
        table.add("one", 1, scores("car", Some(40.0), Some([30.0, 60.0])));
        table.add("other", 1, scores("car", Some(50.0), None));
        table.add("twice", 1, scores("car", Some(50.0), None));
        table.add("twice", 2, scores("car", Some(70.0), None));
        let image = plot(&table).unwrap();
        let centre = |index| {
            let (left, right) = extent(&image, index, 1.0);
            (left + right) / 2.0
        };
        let ten = centre(1) - centre(0); // ten percent in columns
        assert!(ten > 40.0, "{ten}");
        let near = |found: f64, percent: f64| {
            let expected = centre(0) + (percent - 40.0) / 10.0 * ten;
            assert!((found - expected).abs() < 3.0, "{percent} %: column {found}, expected {expected}");
        };
        let (low, high) = extent(&image, 0, 0.6);
        near(low, 30.0);
        near(high, 60.0);
        near(centre(2), 60.0);
        // The sample's deviation of 50 and 70 is 14.1.
        let (low, high) = extent(&image, 2, 0.15);
        near(low, 60.0 - 14.1);
        near(high, 60.0 + 14.1);
    }

    #[test]
    fn every_set_and_class_with_objects_has_a_panel() {
        let mut table = Table::new("moderate");
        assert_eq!(plot(&table), None);
        let classes = ["car", "pedestrian", "cyclist", "tram"];
        let rows = |ap: Option<f64>| classes.iter().flat_map(|class| scores(class, ap, None).rows).collect();
        table.add("a", 1, Scores { bytes: 1, rows: rows(Some(0.0)) });
        table.add("b", 1, Scores { bytes: 1, rows: rows(None) });
        let two_rows = plot(&table).unwrap().height() - NOTE;
        assert_eq!(two_rows, 2 * (2 * VARIANT + FRAME));

        let mut empty = Table::new("moderate");
        let mut none = scores("car", None, None);
        none.rows[0].objects = 0;
        empty.add("a", 1, none);
        assert_eq!(plot(&empty), None);
    }
}

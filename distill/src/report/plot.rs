//! The curves of a run.

use super::{
    History,
    surface::{Surface, TEXT},
};
use image::{Rgb, RgbImage};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::convert::Infallible;

const SIZE: (u32, u32) = (960, 800);
/// Columns at the right for the names of the curves.
const LEGEND: i32 = 170;

type Area<'a> = DrawingArea<Surface<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<Infallible>>;

/// The curves of a run over its epochs, on a logarithmic scale: above the whole loss, of training and of validation, below
/// the terms of which it is the sum. A line marks the end of each stage. `None` if no epoch is done.
pub fn plot(history: &History) -> Option<RgbImage> {
    let (whole, terms): (Vec<_>, Vec<_>) =
        history.curves.iter().cloned().partition(|(name, _)| name == "loss" || name == "validation_loss");
    if history.stages.is_empty() {
        return None;
    }
    let mut image = RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([255; 3]));
    let root = Surface(&mut image).into_drawing_area();
    let halves = root.split_evenly((2, 1));
    for (area, title, curves) in [(&halves[0], "loss", whole), (&halves[1], "terms of the loss", terms)] {
        panel(area, title, &curves, &history.stages).expect("drawing into memory");
    }
    drop((root, halves));
    Some(image)
}

fn panel(area: &Area<'_>, title: &str, curves: &[(String, Vec<Option<f64>>)], stages: &[String]) -> Drawn {
    // A term that is 0 (or a validation that was not done) has no place on the scale.
    let points = |values: &[Option<f64>]| -> Vec<(f64, f64)> {
        let numbered = values.iter().enumerate().filter_map(|(index, value)| Some((index as f64 + 1.0, (*value)?)));
        numbered.filter(|(_, value)| *value > 0.0 && value.is_finite()).collect()
    };
    let curves: Vec<_> = curves.iter().map(|(name, values)| (name.as_str(), points(values))).collect();
    let all = || curves.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let (low, high) = all().fold((f64::INFINITY, 0f64), |(low, high), value| (low.min(value), high.max(value)));
    let (low, high) = if low.is_finite() { decades(low, high) } else { (0.1, 1.0) };
    let epochs = stages.len() as f64;

    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(LEGEND)
        .caption(title, TEXT)
        .x_label_area_size(34)
        .y_label_area_size(72)
        .build_cartesian_2d(0.5..epochs + 0.5, (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_label_formatter(&|epoch| if epoch.fract() == 0.0 { epoch.to_string() } else { String::new() })
        .y_label_formatter(&|value| {
            if *value < 1e-3 { format!("{value:e}") } else { format!("{}", (value * 1e4).round() / 1e4) }
        })
        .max_light_lines(0)
        .draw()?;
    for end in (1..stages.len()).filter(|&index| stages[index] != stages[index - 1]) {
        let x = end as f64 + 0.5;
        chart.draw_series([PathElement::new(vec![(x, low), (x, high)], BLACK.mix(0.5))])?;
    }
    for (index, (name, points)) in curves.into_iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 2, style.filled())))?;
        chart.draw_series(LineSeries::new(points, style))?;
        let (x, y) = (SIZE.0 as i32 - LEGEND + 12, 40 + 20 * index as i32);
        area.draw(&PathElement::new(vec![(x, y), (x + 16, y)], style))?;
        let text = TEXT.into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(name, (x + 22, y), text))?;
    }
    Ok(())
}

/// The powers of ten around a range of positive numbers: the scale has a label at each.
fn decades(low: f64, high: f64) -> (f64, f64) {
    let (below, above) = (low.log10().floor(), high.log10().ceil());
    (10f64.powf(below), 10f64.powf(above.max(below + 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(values: &[f64]) -> History {
        let curve = |name: &str, factor: f64| (name.to_owned(), values.iter().map(|v| Some(v * factor)).collect());
        History { stages: vec!["a".into(); values.len()], curves: vec![curve("loss", 1.0), curve("coords", 0.5)] }
    }

    /// Columns and rows of the pixels of the first curve in the upper half, without its name's line.
    fn first_curve(image: &RgbImage) -> Vec<(u32, u32)> {
        let (r, g, b) = Palette99::pick(0).to_backend_color().rgb;
        let places = (0..SIZE.1 / 2).flat_map(|y| (0..SIZE.0 - LEGEND as u32).map(move |x| (x, y)));
        places.filter(|&(x, y)| image.get_pixel(x, y).0 == [r, g, b]).collect()
    }

    #[test]
    fn a_loss_that_halves_with_each_epoch_is_a_falling_straight_line() {
        let curve = first_curve(&plot(&history(&[8.0, 4.0, 2.0, 1.0])).unwrap());
        let (left, right) = curve.iter().fold((u32::MAX, 0), |(left, right), (x, _)| (left.min(*x), right.max(*x)));
        assert!(left < 300 && right > 600, "over all epochs: {left} to {right}");
        // Five columns on either side, against the thickness of the line.
        let row = |centre: u32| {
            let rows: Vec<f64> = curve.iter().filter(|(x, _)| x.abs_diff(centre) <= 5).map(|(_, y)| f64::from(*y)).collect();
            rows.iter().sum::<f64>() / rows.len() as f64
        };
        let quarter = (right - left) / 4;
        let [first, middle, last] = [1, 2, 3].map(|n| row(left + n * quarter));
        assert!(first + 40.0 < middle, "{first} {middle} {last}");
        assert!((first + last - 2.0 * middle).abs() < 3.0, "{first} {middle} {last}");
    }

    #[test]
    fn scales_end_at_powers_of_ten() {
        assert_eq!(decades(0.02, 30.0), (0.01, 100.0));
        assert_eq!(decades(1.0, 1.0), (1.0, 10.0));
    }

    #[test]
    fn odd_histories_are_drawn_too() {
        assert_eq!(plot(&history(&[])), None);
        assert_eq!(plot(&history(&[1.0])).unwrap().dimensions(), SIZE);
        assert_eq!(plot(&history(&[0.0, 0.0])).unwrap().dimensions(), SIZE);
        assert_eq!(plot(&history(&[f64::NAN, 1e-30, 1e30])).unwrap().dimensions(), SIZE);
    }
}

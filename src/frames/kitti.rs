//! KITTI's label files: one object a line, `class truncated occluded alpha x1 y1 x2 y2 h w l x y z rotation_y [score]`
//! (Geiger et al., CVPR 2012, development kit of the object benchmark).

use crate::detection::{BBox, Detection};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use thiserror::Error;

/// Names of a line's fields, in order.
const FIELDS: [&str; 16] = [
    "class",
    "truncated",
    "occluded",
    "alpha",
    "x1",
    "y1",
    "x2",
    "y2",
    "height",
    "width",
    "length",
    "x",
    "y",
    "z",
    "rotation_y",
    "score",
];

/// An object of a label or result file: one line. What is not known has KITTI's values for that; see [`Self::detected`].
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Name of the class, a single word; `DontCare` marks a region in which objects are not labelled.
    pub class: String,
    /// Share of the object that lies outside the image, 0 to 1; -1 if unknown.
    pub truncated: f64,
    /// 0 visible, 1 partly occluded, 2 largely occluded, 3 unknown; -1 where it means nothing.
    pub occluded: i32,
    /// Observation angle in radians; -10 if unknown.
    pub alpha: f64,
    /// The box in pixels of the image: left, top, right, bottom. Never reversed, perhaps empty.
    pub corners: [f64; 4],
    /// Height, width and length in metres; -1 if unknown.
    pub dimensions: [f64; 3],
    /// Position in the camera's coordinates, in metres; -1000 if unknown.
    pub location: [f64; 3],
    /// Rotation about the camera's vertical axis in radians; -10 if unknown.
    pub rotation_y: f64,
    /// Confidence: detections have one, labels made by hand do not.
    pub score: Option<f64>,
}

/// A line that is no label.
#[derive(Debug, Error, PartialEq)]
pub enum LineError {
    /// Too few or too many fields.
    #[error("{found} fields; a label has 15, a detection has 16")]
    Count {
        /// Fields of the line.
        found: usize,
    },
    /// A field's text is wrong.
    #[error("field {position} ({name}): '{text}' {reason}")]
    Field {
        /// Place in the line, from 1.
        position: usize,
        /// What the field is.
        name: &'static str,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// A label file that cannot be read or written.
#[derive(Debug, Error)]
pub enum LabelError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is no label.
    #[error("{}, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Place in the file, from 1.
        line: usize,
        /// What is wrong with the line.
        source: LineError,
    },
}

impl Label {
    /// Something that a detector has found, as a line of a result file: spaces in the name of the class become `_`, edges
    /// are rounded to hundredths of a pixel and scores to millionths, so that what is written is what is evaluated.
    pub fn detected(class: &str, detection: &Detection) -> Self {
        let rounded = |value: f32, steps: f64| (f64::from(value) * steps).round() / steps;
        Self {
            class: class.replace(char::is_whitespace, "_"),
            truncated: -1.0,
            occluded: -1,
            alpha: -10.0,
            corners: detection.bbox.corners().map(|edge| rounded(edge, 1e2)),
            dimensions: [-1.0; 3],
            location: [-1000.0; 3],
            rotation_y: -10.0,
            score: Some(rounded(detection.score, 1e6)),
        }
    }

    /// The box as detectors give it.
    pub fn bbox(&self) -> BBox {
        BBox::from_corners(self.corners.map(|edge| edge as f32))
    }

    /// Height of the box in pixels.
    pub fn height(&self) -> f64 {
        self.corners[3] - self.corners[1]
    }

    /// Area of the box in pixels.
    pub fn area(&self) -> f64 {
        (self.corners[2] - self.corners[0]) * self.height()
    }

    /// Whether this marks a region in which objects are not labelled.
    pub fn is_dont_care(&self) -> bool {
        self.class.eq_ignore_ascii_case("DontCare")
    }
}

impl FromStr for Label {
    type Err = LineError;

    fn from_str(line: &str) -> Result<Self, LineError> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if !matches!(fields.len(), 15 | 16) {
            return Err(LineError::Count { found: fields.len() });
        }
        let wrong = |index: usize, reason| LineError::Field {
            position: index + 1,
            name: FIELDS[index],
            text: fields[index].into(),
            reason,
        };
        let number = |index: usize| match fields[index].parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => Err(wrong(index, "is not a finite number")),
        };
        let corners = [number(4)?, number(5)?, number(6)?, number(7)?];
        if corners[2] < corners[0] {
            return Err(wrong(6, "lies left of x1"));
        }
        if corners[3] < corners[1] {
            return Err(wrong(7, "lies above y1"));
        }
        let occluded = number(2)?;
        if occluded.fract() != 0.0 || !(-1.0..=3.0).contains(&occluded) {
            return Err(wrong(2, "is not -1, 0, 1, 2 or 3"));
        }
        Ok(Self {
            class: fields[0].into(),
            truncated: number(1)?,
            occluded: occluded as i32,
            alpha: number(3)?,
            corners,
            dimensions: [number(8)?, number(9)?, number(10)?],
            location: [number(11)?, number(12)?, number(13)?],
            rotation_y: number(14)?,
            score: if fields.len() == 16 { Some(number(15)?) } else { None },
        })
    }
}

/// The line, every number with as many digits as it takes to read the same number back.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x1, y1, x2, y2] = self.corners;
        let [height, width, length] = self.dimensions;
        let [x, y, z] = self.location;
        write!(f, "{} {} {} {} {x1} {y1} {x2} {y2} ", self.class, self.truncated, self.occluded, self.alpha)?;
        write!(f, "{height} {width} {length} {x} {y} {z} {}", self.rotation_y)?;
        self.score.map_or(Ok(()), |score| write!(f, " {score}"))
    }
}

/// The labels of a text; empty lines say nothing. `path` is for errors alone.
fn parse(text: &str, path: &Path) -> Result<Vec<Label>, LabelError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| line.parse().map_err(|source| LabelError::Line { path: path.into(), line: index + 1, source }))
        .collect()
}

/// Reads a label or result file. An empty one is a frame without objects.
///
/// # Errors
/// If the file cannot be read or a line is wrong.
pub fn read(path: &Path) -> Result<Vec<Label>, LabelError> {
    let text = fs::read_to_string(path).map_err(|source| LabelError::Io { path: path.into(), source })?;
    parse(&text, path)
}

/// Writes a label or result file.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, labels: &[Label]) -> Result<(), LabelError> {
    let text: String = labels.iter().map(|label| format!("{label}\n")).collect();
    fs::write(path, text).map_err(|source| LabelError::Io { path: path.into(), source })
}

/// What a detector has found in a frame, as the lines of its result file.
///
/// # Panics
/// If `classes` are not the classes of the network that found them.
pub fn detected(detections: &[Detection], classes: &[String]) -> Vec<Label> {
    detections.iter().map(|detection| Label::detected(&classes[detection.class], detection)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "Car 0.30 1 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57";

    #[test]
    fn a_line_of_the_development_kit_is_read() {
        let label: Label = LINE.parse().unwrap();
        let expected = Label {
            class: "Car".into(),
            truncated: 0.3,
            occluded: 1,
            alpha: 1.85,
            corners: [387.63, 181.54, 423.81, 203.12],
            dimensions: [1.67, 1.87, 3.69],
            location: [-16.53, 2.39, 58.49],
            rotation_y: 1.57,
            score: None,
        };
        assert_eq!(label, expected);
        assert_eq!(format!("{LINE} 0.5").parse::<Label>().unwrap().score, Some(0.5));
    }

    #[test]
    fn a_wrong_line_is_told_file_line_and_field() {
        let message = |line: &str| parse(&format!("{LINE}\n\n{line}\n"), Path::new("a.txt")).unwrap_err().to_string();
        let with = |position: usize, text: &'static str| {
            let mut fields: Vec<&str> = LINE.split(' ').collect();
            fields[position - 1] = text;
            message(&fields.join(" "))
        };
        assert_eq!(message("Car 1 2"), "a.txt, line 3: 3 fields; a label has 15, a detection has 16");
        assert_eq!(message(&format!("{LINE} 1 2")), "a.txt, line 3: 17 fields; a label has 15, a detection has 16");
        assert_eq!(with(2, "x"), "a.txt, line 3: field 2 (truncated): 'x' is not a finite number");
        assert_eq!(with(5, "nan"), "a.txt, line 3: field 5 (x1): 'nan' is not a finite number");
        assert_eq!(with(3, "0.5"), "a.txt, line 3: field 3 (occluded): '0.5' is not -1, 0, 1, 2 or 3");
        assert_eq!(with(3, "1e9"), "a.txt, line 3: field 3 (occluded): '1e9' is not -1, 0, 1, 2 or 3");
        assert_eq!(with(7, "387"), "a.txt, line 3: field 7 (x2): '387' lies left of x1");
        assert_eq!(with(8, "181"), "a.txt, line 3: field 8 (y2): '181' lies above y1");
        assert_eq!(message(&format!("{LINE} inf")), "a.txt, line 3: field 16 (score): 'inf' is not a finite number");
    }

    #[test]
    fn a_detection_becomes_a_line_of_a_result_file() {
        let bbox = BBox::from_corners([10.0, 20.126, 30.5, 60.0]);
        let found = [Detection { class: 1, score: 0.9, bbox }];
        let labels = detected(&found, &["car".into(), "traffic light".into()]);
        let line = "traffic_light -1 -1 -10 10 20.13 30.5 60 -1 -1 -1 -1000 -1000 -1000 -10 0.9";
        assert_eq!(labels[0].to_string(), line);
    }

    #[test]
    fn files_are_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000000.txt");
        let labels: Vec<Label> = vec![LINE.parse().unwrap(), format!("{LINE} 0.25").parse().unwrap()];
        write(&path, &labels).unwrap();
        assert_eq!(read(&path).unwrap(), labels);
        write(&path, &[]).unwrap();
        assert_eq!(read(&path).unwrap(), []);
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path), Err(LabelError::Io { path: p, .. }) if p == path));
    }

    proptest! {
        #[test]
        fn every_label_is_read_back_as_printed(
            numbers in prop::array::uniform13(-1e6..1e6f64),
            occluded in -1..=3i32,
            score in prop::option::of(0.0..1.0f64),
        ) {
            let [truncated, alpha, x1, y1, x2, y2, h, w, l, x, y, z, rotation_y] = numbers;
            let label = Label {
                class: "Person_sitting".into(),
                truncated,
                occluded,
                alpha,
                corners: [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)],
                dimensions: [h, w, l],
                location: [x, y, z],
                rotation_y,
                score,
            };
            prop_assert_eq!(label.to_string().parse::<Label>(), Ok(label));
        }

        #[test]
        fn a_line_is_a_sound_label_or_an_error(
            fields in prop::collection::vec(prop_oneof!["[!-~é]{1,4}", "-?[0-9]{1,2}", "-?[0-9]{300,310}", "[0-9]e[0-9]{3}"], 14..18)
        ) {
            if let Ok(label) = fields.join(" ").parse::<Label>() {
                let [x1, y1, x2, y2] = label.corners;
                prop_assert!(x1 <= x2 && y1 <= y2 && x1.is_finite() && y2.is_finite());
                prop_assert!(label.score.is_none_or(f64::is_finite));
            }
        }
    }
}

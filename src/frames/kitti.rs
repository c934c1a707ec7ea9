//! Labels and results in KITTI's text format: one object a line.
//!
//! `type truncated occluded alpha left top right bottom height width length x y z rotation_y [score]`

use crate::detection::BBox;
use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// One object of a label or result file. The seven numbers of the object in space are read but not kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Type as written: `Car`, `Pedestrian`, `DontCare`, ...
    pub kind: String,
    /// Share of the object outside the image, 0 to 1; −1 if not known.
    pub truncated: f64,
    /// 0 fully visible, 1 partly, 2 largely occluded, 3 unknown; −1 if not known.
    pub occluded: i32,
    /// Left, top, right, bottom in pixels.
    pub corners: [f64; 4],
    /// Confidence; results have one.
    pub score: Option<f64>,
}

/// A file that does not hold labels or results.
#[derive(Debug, Error)]
pub enum LabelError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// Names of the columns, from 1, for messages.
const COLUMNS: [&str; 16] = [
    "type",
    "truncated",
    "occluded",
    "alpha",
    "left",
    "top",
    "right",
    "bottom",
    "height",
    "width",
    "length",
    "x",
    "y",
    "z",
    "rotation_y",
    "score",
];

impl Object {
    /// The box.
    pub fn bbox(&self) -> BBox {
        BBox::from_corners(self.corners.map(|side| side as f32))
    }

    /// Reads one line.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if !matches!(columns.len(), 15 | 16) {
            return Err(format!("{} columns, a label has 15 and a result 16", columns.len()));
        }
        let number = |column: usize| -> Result<f64, String> {
            let parsed = columns[column].parse().ok().filter(|value: &f64| value.is_finite());
            parsed
                .ok_or_else(|| format!("column {} ({}) is '{}', not a number", column + 1, COLUMNS[column], columns[column]))
        };
        for column in [3, 8, 9, 10, 11, 12, 13, 14] {
            number(column)?;
        }
        Ok(Self {
            kind: columns[0].to_owned(),
            truncated: number(1)?,
            occluded: number(2)? as i32,
            corners: [number(4)?, number(5)?, number(6)?, number(7)?],
            score: (columns.len() == 16).then(|| number(15)).transpose()?,
        })
    }
}

/// Reads a label or result file; empty lines are skipped.
///
/// # Errors
/// Names the file, the line and what is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Object>, LabelError> {
    let text = fs::read_to_string(path).map_err(|source| LabelError::Read { path: path.into(), source })?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let object = |(line, text)| Object::parse(text).map_err(|reason| LabelError::Line { path: path.into(), line, reason });
    lines.map(object).collect()
}

/// A result file of detections: class, score, box. Classes are written with a capital first letter, as KITTI's are; what
/// a 2-D detector does not know is written as KITTI's dummies.
pub fn results<'a>(detections: impl Iterator<Item = (&'a str, f32, BBox)>) -> String {
    let mut text = String::new();
    for (class, score, bbox) in detections {
        let [x1, y1, x2, y2] = bbox.corners();
        let mut letters = class.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let kind = (first + letters.as_str()).replace(char::is_whitespace, "_");
        writeln!(text, "{kind} -1 -1 -10 {x1:.2} {y1:.2} {x2:.2} {y2:.2} -1 -1 -1 -1000 -1000 -1000 -10 {score:.6}")
            .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_devkit() {
        let line = "Pedestrian 0.25 1 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 8.41 0.01";
        let object = Object::parse(line).unwrap();
        assert_eq!((object.kind.as_str(), object.truncated, object.occluded, object.score), ("Pedestrian", 0.25, 1, None));
        assert_eq!(object.corners, [712.40, 143.00, 810.73, 307.92]);
    }

    #[test]
    fn results_are_read_back() {
        let bbox = BBox::from_corners([1.25, 2.5, 31.0, 44.75]);
        let text = results([("car", 0.75, bbox), ("traffic light", 0.5, bbox)].into_iter());
        let objects: Vec<_> = text.lines().map(|line| Object::parse(line).unwrap()).collect();
        assert_eq!((objects[0].kind.as_str(), objects[0].score, objects[0].bbox()), ("Car", Some(0.75), bbox));
        assert_eq!(objects[1].kind, "Traffic_light");
    }

    #[test]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("000001.txt");
        let good = "Car 0 0 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10";
        for (line, words) in [
            ("Car 0 0 1 2 3 4", "000001.txt:3: 7 columns, a label has 15 and a result 16"),
            (&good.replace(" 2 ", " x "), "000001.txt:3: column 6 (top) is 'x', not a number"),
            (&good.replace(" -10 1", " nan 1"), "column 4 (alpha) is 'nan', not a number"),
        ] {
            fs::write(&path, format!("{good}\n\n{line}\n")).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(words), "'{error}' does not say '{words}'");
        }
    }
}

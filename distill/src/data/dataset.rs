//! Which frames there are and what is in them. Images are decoded later, one by one.

use super::DataError;
use crate::recipe::{DataConfig, SetConfig};
use onebit_detector::detection::BBox;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The frames of several sets, in the order of the recipe and of the file names.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// All frames.
    pub frames: Vec<Frame>,
    /// Indices of frames as often as one epoch shows them.
    pub epoch: Vec<usize>,
}

/// One image and what is in it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The image file.
    pub image: PathBuf,
    /// What is in it, in pixels of the file.
    pub labels: Vec<Label>,
    /// Width over height of the scene, if the file was stretched.
    pub aspect: Option<f32>,
    /// Range of enlargement, if the set has its own.
    pub scale: Option<[f32; 2]>,
}

/// A labelled object or an ignore region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// Where.
    pub bbox: BBox,
    /// Its class in the network; `None` for an ignore region.
    pub class: Option<usize>,
    /// How sure the label is, above 0 and at most 1: the 16th column where there is one.
    pub weight: f32,
}

impl Dataset {
    /// Lists the frames of `sets` and reads their labels; `classes` are the network's.
    ///
    /// # Errors
    /// Names the file (and line) that cannot be used, or the set that has no labelled image.
    pub fn load(config: &DataConfig, sets: &[SetConfig], classes: &[String]) -> Result<Self, DataError> {
        let mut dataset = Self { frames: Vec::new(), epoch: Vec::new() };
        let class_of = |kind: &str| {
            let name = config.classes.get(kind)?;
            classes.iter().position(|c| c == name)
        };
        for set in sets {
            let first = dataset.frames.len();
            dataset.frames.extend(list(config, set, &class_of)?);
            for (index, frame) in dataset.frames.iter().enumerate().skip(first) {
                let times = frame.objects().map(|class| config.oversample.get(&classes[class]).copied().unwrap_or(1)).max();
                dataset.epoch.extend(std::iter::repeat_n(index, set.repeat * times.unwrap_or(1)));
            }
        }
        Ok(dataset)
    }
}

impl Frame {
    /// Classes of the labelled objects.
    pub fn objects(&self) -> impl Iterator<Item = usize> {
        self.labels.iter().filter_map(|label| label.class)
    }
}

/// The frames of one set that have a label file.
fn list(config: &DataConfig, set: &SetConfig, class_of: &dyn Fn(&str) -> Option<usize>) -> Result<Vec<Frame>, DataError> {
    let folder = config.root.join(&set.path);
    let (images, labels) = (folder.join(&set.images), folder.join(&set.labels));
    let read = |source| DataError::Read { path: images.clone(), source };
    let entries = fs::read_dir(&images).map_err(read)?.collect::<Result<Vec<_>, _>>().map_err(read)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| is_image(path)).collect();
    paths.sort();

    let mut frames = Vec::new();
    for image in paths {
        let file = labels.join(image.with_extension("txt").file_name().expect("an image file has a name"));
        if file.is_file() {
            let labels = read_labels(&file, class_of)?;
            frames.push(Frame { image, labels, aspect: set.aspect, scale: set.scale });
        }
    }
    if frames.is_empty() { Err(DataError::Empty { images, labels }) } else { Ok(frames) }
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["jpg", "jpeg", "png"].iter().any(|known| extension == *known)
}

fn read_labels(path: &Path, class_of: &dyn Fn(&str) -> Option<usize>) -> Result<Vec<Label>, DataError> {
    let text = fs::read_to_string(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let label = |(index, line)| {
        read_label(line, class_of).map_err(|reason| DataError::Label { path: path.into(), line: index + 1, reason })
    };
    lines.map(label).collect()
}

/// One line in KITTI's format: type, truncation, occlusion, angle, corners of the box, seven numbers of the object in
/// space, and, on results, a score.
fn read_label(line: &str, class_of: &dyn Fn(&str) -> Option<usize>) -> Result<Label, String> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    if !matches!(columns.len(), 15 | 16) {
        return Err(format!("{} columns, a KITTI label has 15, or 16 with a score", columns.len()));
    }
    let number = |column: usize| -> Result<f32, String> {
        let parsed = columns[column].parse().ok().filter(|value: &f32| value.is_finite());
        parsed.ok_or_else(|| format!("column {} is '{}', not a number", column + 1, columns[column]))
    };
    let corners = [number(4)?, number(5)?, number(6)?, number(7)?];
    if corners[0] >= corners[2] || corners[1] >= corners[3] {
        return Err(format!("the box {corners:?} (left, top, right, bottom) is empty"));
    }
    let weight = if columns.len() == 16 { number(15)? } else { 1.0 };
    if !(weight > 0.0 && weight <= 1.0) {
        return Err(format!("the score {weight} is not above 0 and at most 1"));
    }
    Ok(Label { bbox: BBox::from_corners(corners), class: class_of(columns[0]), weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Label, String> {
        read_label(line, &|kind| (kind == "Car").then_some(0))
    }

    #[test]
    fn a_line_becomes_a_label() {
        let label = parse("Car 0.00 0 -10 10 20 30.5 60 -1 -1 -1 -1000 -1000 -1000 -10 0.75").unwrap();
        assert_eq!(label, Label { bbox: BBox { cx: 20.25, cy: 40.0, w: 20.5, h: 40.0 }, class: Some(0), weight: 0.75 });
        let ignored = parse("Tram 0.00 0 -10 10 20 30 60 -1 -1 -1 -1000 -1000 -1000 -10").unwrap();
        assert_eq!((ignored.class, ignored.weight), (None, 1.0));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for (line, reason) in [
            ("Car 0 0 0 1 2 3", "7 columns"),
            ("Car 0 0 -10 10 x 30 60 -1 -1 -1 -1000 -1000 -1000 -10", "column 6 is 'x'"),
            ("Car 0 0 -10 10 20 nan 60 -1 -1 -1 -1000 -1000 -1000 -10", "column 7 is 'nan'"),
            ("Car 0 0 -10 30 20 10 60 -1 -1 -1 -1000 -1000 -1000 -10", "is empty"),
            ("Car 0 0 -10 10 20 30 60 -1 -1 -1 -1000 -1000 -1000 -10 1.5", "score 1.5"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}

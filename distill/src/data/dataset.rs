//! Which frames there are and what is in them. Images are decoded later, one by one.

use super::DataError;
use crate::recipe::{DataConfig, SetConfig};
use onebit_detector::{
    detection::BBox,
    frames::{
        images,
        kitti::{self, Label as KittiLabel},
    },
};
use std::path::{Path, PathBuf};

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
    let mut frames = Vec::new();
    for image in images::list(&[&images])? {
        let file = labels.join(image.with_extension("txt").file_name().expect("an image file has a name"));
        if file.is_file() {
            let labels = read_labels(&file, class_of)?;
            frames.push(Frame { image, labels, aspect: set.aspect, scale: set.scale });
        }
    }
    if frames.is_empty() { Err(DataError::Empty { images, labels }) } else { Ok(frames) }
}

/// The labels of a file; empty boxes say nothing.
fn read_labels(path: &Path, class_of: &dyn Fn(&str) -> Option<usize>) -> Result<Vec<Label>, DataError> {
    let label = |label: KittiLabel| {
        let weight = label.score.unwrap_or(1.0);
        if weight > 0.0 && weight <= 1.0 {
            Ok(Label { bbox: label.bbox(), class: class_of(&label.class), weight: weight as f32 })
        } else {
            Err(DataError::Score { path: path.into(), class: label.class, score: weight })
        }
    };
    kitti::read(path)?.into_iter().filter(|label| label.area() > 0.0).map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use std::{collections::BTreeMap, fs};

    /// A folder with a set of images of one pixel, one for each text of labels.
    fn folder(labels: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for sub in ["image_2", "label_2"] {
            fs::create_dir(folder.path().join(sub)).unwrap();
        }
        for (index, text) in labels.iter().enumerate() {
            RgbImage::new(1, 1).save(folder.path().join(format!("image_2/{index}.png"))).unwrap();
            fs::write(folder.path().join(format!("label_2/{index}.txt")), text).unwrap();
        }
        folder
    }

    fn load(folder: &Path, repeat: usize) -> Result<Dataset, DataError> {
        let set = format!("{{path: ., repeat: {repeat}}}");
        let yaml = format!("{{train: [{set}], classes: {{Car: car, Walker: pedestrian}}, oversample: {{pedestrian: 3}}}}");
        let config = DataConfig { root: folder.into(), ..serde_yaml::from_str(&yaml).unwrap() };
        Dataset::load(&config, &config.train, &["car".into(), "pedestrian".into()])
    }

    const REST: &str = "-1 -1 -1 -1000 -1000 -1000 -10";

    #[test]
    fn lines_become_labels() {
        let lines = [
            format!("Car 0 0 -10 10 20 30.5 60 {REST} 0.75"),
            format!("Walker 0 0 -10 1 2 3 4 {REST}"),
            format!("Tram 0 0 -10 10 20 30 60 {REST}"),
        ];
        let folder = folder(&[&lines.join("\n")]);
        let dataset = load(folder.path(), 1).unwrap();
        let [car, walker, tram] = dataset.frames[0].labels[..] else { panic!("three labels") };
        assert_eq!(car, Label { bbox: BBox { cx: 20.25, cy: 40.0, w: 20.5, h: 40.0 }, class: Some(0), weight: 0.75 });
        assert_eq!((walker.class, walker.weight), (Some(1), 1.0));
        assert_eq!(tram.class, None, "a type without a class is an ignore region");
    }

    #[test]
    fn an_epoch_repeats_sets_and_oversamples_classes() {
        let (car, walker) = (format!("Car 0 0 -10 1 2 3 4 {REST}"), format!("Walker 0 0 -10 1 2 3 4 {REST}"));
        let folder = folder(&[&car, "", &format!("{car}\n{walker}")]);
        fs::remove_file(folder.path().join("label_2/1.txt")).unwrap();
        let dataset = load(folder.path(), 2).unwrap();
        assert_eq!(dataset.frames.len(), 2, "an image without labels is left out");
        let mut times = BTreeMap::new();
        dataset.epoch.iter().for_each(|frame| *times.entry(*frame).or_insert(0) += 1);
        assert_eq!(times, BTreeMap::from([(0, 2), (1, 6)]));
    }

    #[test]
    fn broken_data_is_named() {
        let error = |labels: &[&str]| load(folder(labels).path(), 1).unwrap_err().to_string();
        let wrong = error(&["", "Car 0 0 -10 10 x 30 60 -1 -1 -1 -1000 -1000 -1000 -10"]);
        assert!(wrong.contains("1.txt, line 1") && wrong.contains("'x'"), "{wrong}");
        let wrong = error(&[&format!("Car 0 0 -10 1 2 3 4 {REST} 1.5")]);
        assert!(wrong.contains("0.txt") && wrong.contains("1.5"), "{wrong}");
        let empty = folder(&[""]);
        fs::remove_file(empty.path().join("label_2/0.txt")).unwrap();
        let wrong = load(empty.path(), 1).unwrap_err().to_string();
        assert!(wrong.contains("label_2"), "{wrong}");
        let wrong = load(Path::new("nowhere"), 1).unwrap_err().to_string();
        assert!(wrong.contains("nowhere"), "{wrong}");
    }
}

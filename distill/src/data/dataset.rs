//! Which frames there are and what is in them. Images are decoded later, one by one.

use super::{
    DataError,
    augment::fit,
    formats::{self, Entry},
};
use crate::recipe::{Broken, DataConfig, Role, SetConfig};
use onebit_detector::{detection::BBox, frames::images, network::InputSize};
use std::{path::PathBuf, thread};

/// The frames of several sets, in the order of the recipe and of the file names.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// All frames.
    pub frames: Vec<Frame>,
    /// Indices of frames as often as one epoch shows them.
    pub epoch: Vec<usize>,
    /// Broken frames that were left out.
    pub broken: usize,
}

/// One image and what is in it.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The image file.
    pub image: PathBuf,
    /// Its columns and rows.
    pub size: [u32; 2],
    /// What is in it, in pixels of the file.
    pub labels: Vec<Label>,
    /// Nobody has looked at what is in it.
    pub unlabelled: bool,
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
    /// Names the file that cannot be used, unless the recipe wants such frames skipped; or the set that has no frame.
    pub fn load(config: &DataConfig, sets: &[SetConfig], classes: &[String]) -> Result<Self, DataError> {
        let mut dataset = Self { frames: Vec::new(), epoch: Vec::new(), broken: 0 };
        for set in sets {
            let folder = config.root.join(&set.path);
            let entries = formats::read(&folder, set)?;
            let entries = match config.broken {
                Broken::Stop => entries.into_iter().collect::<Result<_, _>>()?,
                Broken::Skip => whole(entries, &mut dataset.broken),
            };
            if entries.is_empty() {
                return Err(DataError::AllBroken(folder));
            }
            for entry in entries {
                let frame = Frame::new(entry, config, set, classes);
                let times = frame.objects().map(|class| config.oversample.get(&classes[class]).copied().unwrap_or(1)).max();
                dataset.epoch.extend(std::iter::repeat_n(dataset.frames.len(), set.repeat * times.unwrap_or(1)));
                dataset.frames.push(frame);
            }
        }
        if dataset.broken > 0 {
            log::warn!("{} frames are read, {} broken ones left out", dataset.frames.len(), dataset.broken);
        }
        Ok(dataset)
    }
}

/// The entries that are whole, their images too; the others are named and counted.
fn whole(entries: Vec<Result<Entry, DataError>>, broken: &mut usize) -> Vec<Entry> {
    let decodable = |entry: Entry| images::decode(&entry.image).map(|_| entry).map_err(DataError::from);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut entries = entries.into_iter();
    let share = entries.len().div_ceil(threads).max(1);
    let checked: Vec<_> = thread::scope(|scope| {
        let shares: Vec<Vec<_>> = (0..threads).map(|_| entries.by_ref().take(share).collect()).collect();
        let check = |share: Vec<Result<Entry, DataError>>| {
            scope.spawn(move || share.into_iter().map(|entry| entry.and_then(decodable)).collect::<Vec<_>>())
        };
        let threads: Vec<_> = shares.into_iter().map(check).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let keep = |entry: Result<Entry, DataError>| {
        entry.inspect_err(|error| log::warn!("left out: {error}")).inspect_err(|_| *broken += 1).ok()
    };
    checked.into_iter().filter_map(keep).collect()
}

impl Frame {
    /// A frame with the set's object types turned into classes; empty boxes say nothing.
    fn new(entry: Entry, config: &DataConfig, set: &SetConfig, classes: &[String]) -> Self {
        let objects = entry.objects.into_iter().filter(|object| object.bbox.area() > 0.0);
        let labels = objects.filter_map(|object| {
            let class = match config.role(&object.kind, classes) {
                Role::Class(class) => Some(class).filter(|_| !object.ignored),
                Role::Ignore => None,
                Role::Background => return None,
            };
            Some(Label { bbox: object.bbox, class, weight: object.weight })
        });
        let SetConfig { unlabelled, aspect, scale, .. } = *set;
        Self { image: entry.image, size: entry.size, labels: labels.collect(), unlabelled, aspect, scale }
    }

    /// The factor by which the detector's letterbox enlarges the image.
    pub fn letterbox_scale(&self, input: InputSize) -> f32 {
        fit(self.size.map(|side| side as f32), input)
    }

    /// Classes of the labelled objects.
    pub fn objects(&self) -> impl Iterator<Item = usize> {
        self.labels.iter().filter_map(|label| label.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use std::{collections::BTreeMap, fs, path::Path};

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
        load_with(folder, &format!("{{path: ., repeat: {repeat}}}"), "stop")
    }

    fn load_with(folder: &Path, set: &str, broken: &str) -> Result<Dataset, DataError> {
        let classes = "{Car: car, Walker: pedestrian, Van: ignore, Tree: background}";
        let yaml = format!("{{train: [{set}], classes: {classes}, oversample: {{pedestrian: 3}}, broken: {broken}}}");
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
            format!("Van 0 0 -10 10 20 30 60 {REST}"),
            format!("Tree 0 0 -10 10 20 30 60 {REST}"),
        ];
        let folder = folder(&[&lines.join("\n")]);
        let dataset = load(folder.path(), 1).unwrap();
        let [car, walker, tram, van] = dataset.frames[0].labels[..] else { panic!("background is not kept") };
        assert_eq!(car, Label { bbox: BBox { cx: 20.25, cy: 40.0, w: 20.5, h: 40.0 }, class: Some(0), weight: 0.75 });
        assert_eq!((walker.class, walker.weight), (Some(1), 1.0));
        assert_eq!(tram.class, None, "a type without a class is an ignore region");
        assert_eq!(van.class, None);
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
    fn an_unlabelled_set_needs_no_label_files_and_minds_none() {
        let folder = folder(&[&format!("Walker 0 0 -10 1 2 3 4 {REST}"), "no label", "Car 0"]);
        fs::remove_file(folder.path().join("label_2/2.txt")).unwrap();
        let load =
            |layout: &str| load_with(folder.path(), &format!("{{path: ., unlabelled: true, repeat: 2, {layout}}}"), "stop");
        for layout in ["format: kitti", "format: yolo, images: image_2", "format: coco, images: image_2"] {
            let dataset = load(layout).unwrap();
            assert_eq!(dataset.epoch, [0, 0, 1, 1, 2, 2], "{layout}: nothing is known that could be oversampled");
            assert!(dataset.frames.iter().all(|frame| frame.unlabelled && frame.labels.is_empty() && frame.size == [1, 1]));
        }
        let error = load("images: label_2").unwrap_err().to_string();
        assert!(error.contains("label_2"), "{error}");
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

    #[test]
    fn broken_frames_are_skipped_and_counted_if_the_recipe_says_so() {
        let car = format!("Car 0 0 -10 1 2 3 4 {REST}");
        let folder = folder(&[&car, "Car 0", &car, &car, &car]);
        let image = |index: usize| folder.path().join(format!("image_2/{index}.png"));
        let bytes = fs::read(image(2)).unwrap();
        fs::write(image(2), &bytes[..bytes.len() - 20]).unwrap(); // the size can still be read
        fs::write(image(3), "no image").unwrap();
        let dataset = load_with(folder.path(), "{path: .}", "skip").unwrap();
        let kept: Vec<_> = dataset.frames.iter().map(|frame| frame.image.clone()).collect();
        assert_eq!((kept, dataset.broken), (vec![image(0), image(4)], 3));
        assert_eq!(dataset.epoch, [0, 1]);
        let error = load(folder.path(), 1).unwrap_err().to_string();
        assert!(error.contains("1.txt"), "{error}");

        for index in [0, 4] {
            fs::write(image(index), "no image").unwrap();
        }
        let error = load_with(folder.path(), "{path: .}", "skip").unwrap_err();
        assert!(matches!(error, DataError::AllBroken(_)), "{error}");
    }

    /// One car of 2x3 pixels at (1, 2) in an image of 8x10, as each layout has it.
    #[test]
    fn the_layouts_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for sub in ["image_2", "label_2", "images", "labels", "JPEGImages", "Annotations"] {
            fs::create_dir(folder.path().join(sub)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).unwrap();
        for image in ["image_2/a.png", "images/a.png", "JPEGImages/a.png"] {
            RgbImage::new(8, 10).save(folder.path().join(image)).unwrap();
        }
        write("label_2/a.txt", &format!("Car 0 0 -10 1 2 3 5 {REST}"));
        write("labels/a.txt", "1 0.25 0.35 0.25 0.3");
        write(
            "annotations.json",
            r#"{"images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 10}], "categories": [{"id": 1, "name": "Car"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 2, 3]}]}"#,
        );
        let corners = "<xmin>2</xmin><ymin>3</ymin><xmax>3</xmax><ymax>5</ymax>";
        write(
            "Annotations/a.xml",
            &format!("<annotation><object><name>Car</name><bndbox>{corners}</bndbox></object></annotation>"),
        );
        for format in ["kitti", "yolo, names: [Walker, Car]", "coco", "voc"] {
            let dataset = load_with(folder.path(), &format!("{{path: ., format: {format}}}"), "stop").unwrap();
            let [Label { bbox, class, weight }] = dataset.frames[0].labels[..] else { panic!("{format}: one label") };
            assert_eq!((class, weight, dataset.frames[0].size), (Some(0), 1.0, [8, 10]), "{format}");
            for (found, expected) in bbox.corners().into_iter().zip([1.0, 2.0, 3.0, 5.0]) {
                assert!((found - expected).abs() < 1e-5, "{format}: {bbox:?}");
            }
        }
    }
}

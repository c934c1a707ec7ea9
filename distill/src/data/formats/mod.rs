//! The layouts in which data sets come, each read into the same entries.

mod coco;
mod kitti;
mod voc;
mod yolo;

use super::DataError;
use crate::recipe::{Format, SetConfig};
use onebit_detector::{detection::BBox, frames::images};
use std::path::{Path, PathBuf};

/// An image and what its labels say.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) image: PathBuf,
    /// Columns and rows.
    pub(super) size: [u32; 2],
    pub(super) objects: Vec<Object>,
}

/// An object as its set names it, in pixels of the image.
#[derive(Debug, PartialEq)]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) bbox: BBox,
    /// The set itself says that this is none to be measured by: COCO's crowds, VOC's difficult ones.
    pub(super) ignored: bool,
    /// How sure the label is, above 0 and at most 1.
    pub(super) weight: f32,
}

/// The images of a set that have labels, or all of an unlabelled one, in natural order; where an image or its labels are
/// broken, the reason.
///
/// # Errors
/// If the set as a whole cannot be read.
pub(super) fn read(folder: &Path, set: &SetConfig) -> Result<Vec<Result<Entry, DataError>>, DataError> {
    let (images, labels) = (folder.join(set.images()), folder.join(set.labels()));
    if set.unlabelled {
        let entry = |image: PathBuf| Ok(Entry { size: images::size(&image)?, image, objects: Vec::new() });
        return Ok(images::list(&[images])?.into_iter().map(entry).collect());
    }
    let entries = match set.format {
        Format::Kitti => pairs(&images, &labels, "txt", |file, _| kitti::read(file))?,
        Format::Yolo => {
            let names = yolo::names(folder, set)?;
            pairs(&images, &labels, "txt", |file, size| yolo::read(file, size, &names))?
        }
        Format::Coco => coco::read(&images, &labels)?,
        Format::Voc => pairs(&images, &labels, "xml", voc::read)?,
    };
    if entries.is_empty() { Err(DataError::Empty { images, labels }) } else { Ok(entries) }
}

/// The images that have a label file with the same stem.
fn pairs(
    images: &Path,
    labels: &Path,
    extension: &str,
    objects: impl Fn(&Path, [u32; 2]) -> Result<Vec<Object>, DataError>,
) -> Result<Vec<Result<Entry, DataError>>, DataError> {
    let entry = |image: PathBuf, file: PathBuf| {
        let size = images::size(&image)?;
        Ok(Entry { objects: objects(&file, size)?, image, size })
    };
    let file = |image: &Path| labels.join(image.with_extension(extension).file_name().expect("an image file has a name"));
    let listed = images::list(&[images])?.into_iter().map(|image| (file(&image), image));
    Ok(listed.filter(|(file, _)| file.is_file()).map(|(file, image)| entry(image, file)).collect())
}

/// A number of a label file that a box can have.
fn checked(value: f64, name: &str) -> Result<f32, String> {
    if value.is_finite() && value.abs() < 1e6 { Ok(value as f32) } else { Err(format!("{name} is {value:e}")) }
}

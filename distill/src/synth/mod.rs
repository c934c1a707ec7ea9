//! A synthetic driving set: drawn roads with cars, pedestrians and cyclists, labelled exactly. For tests and first steps;
//! what is learned from it says nothing about real streets.

mod canvas;
mod objects;
mod scene;

pub use scene::{Condition, Scene};

use onebit_detector::frames::kitti::{self, LabelError};
use std::{
    fs,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// A set that cannot be written, and why.
#[derive(Debug, Error)]
pub enum SynthError {
    /// A folder or the README file cannot be written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder is not empty: frames of two sets would mix.
    #[error("{}: holds files already; choose another folder", .0.display())]
    NotEmpty(PathBuf),
    /// An image cannot be written.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: image::ImageError,
    },
    /// A label file cannot be written.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// Writes `frames` labelled frames in KITTI layout into the new folder `folder`, the conditions taking turns. The same seed
/// gives the same files.
///
/// # Errors
/// If the folder is not empty or cannot be written.
pub fn write(folder: &Path, frames: u32, seed: u64, conditions: &[Condition]) -> Result<(), SynthError> {
    let file = |path: PathBuf| |source| SynthError::File { path, source };
    let [images, labels] = ["image_2", "label_2"].map(|name| folder.join(name));
    for path in [&images, &labels] {
        fs::create_dir_all(path).map_err(file(path.clone()))?;
        if fs::read_dir(path).map_err(file(path.clone()))?.next().is_some() {
            return Err(SynthError::NotEmpty(path.clone()));
        }
    }
    for index in 0..frames {
        let condition = conditions[index as usize % conditions.len()];
        let scene = Scene::random(condition, seed, index.into());
        let path = images.join(format!("{index:06}.png"));
        scene.image().save(&path).map_err(|source| SynthError::Image { path, source })?;
        kitti::write(&labels.join(format!("{index:06}.txt")), scene.labels())?;
    }
    let path = folder.join("README.md");
    fs::write(&path, readme(frames, seed, conditions)).map_err(file(path))
}

fn readme(frames: u32, seed: u64, conditions: &[Condition]) -> String {
    let names: Vec<_> = conditions.iter().map(ToString::to_string).collect();
    let command = format!("distill synth FOLDER --frames {frames} --seed {seed} --conditions {}", names.join(","));
    format!(
        "# Synthetic driving frames\n\nDrawn by a program, not taken by a camera: simple shapes of cars, pedestrians and \
         cyclists on a drawn road, for\ntests and first steps. No result on these frames says anything about real \
         streets.\n\nKITTI layout; made by\n\n    {command}\n\n(onebit_distill {}). Conditions take turns from frame to \
         frame.\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ALL: [Condition; 3] = [Condition::Day, Condition::Night, Condition::Rain];

    fn files(folder: &Path) -> Vec<Vec<u8>> {
        let names = ["image_2/000000.png", "image_2/000002.png", "label_2/000000.txt", "label_2/000002.txt"];
        names.map(|name| fs::read(folder.join(name)).unwrap()).to_vec()
    }

    #[test]
    fn a_set_is_in_kitti_layout_says_what_it_is_and_repeats_itself() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        write(&a, 3, 7, &ALL).unwrap();
        write(&b, 3, 7, &ALL).unwrap();
        write(&c, 3, 8, &ALL).unwrap();
        assert_eq!(files(&a), files(&b));
        assert!(files(&a).iter().zip(files(&c)).all(|(a, c)| *a != c));
        let readme = fs::read_to_string(a.join("README.md")).unwrap();
        assert!(readme.starts_with("# Synthetic") && readme.contains("--frames 3 --seed 7 --conditions day,night,rain"));
        assert!(matches!(write(&a, 1, 7, &ALL), Err(SynthError::NotEmpty(_))));
        for index in 0..3 {
            kitti::read(&a.join(format!("label_2/{index:06}.txt"))).unwrap();
        }
        assert_eq!(fs::read_dir(a.join("image_2")).unwrap().count(), 3);
    }

    #[test]
    fn every_class_appears() {
        let labels = (0..20).flat_map(|index| Scene::random(Condition::Day, 1, index).labels().to_vec());
        let kinds: BTreeSet<String> = labels.map(|label| label.class).collect();
        for kind in ["Car", "Pedestrian", "Cyclist"] {
            assert!(kinds.contains(kind), "{kinds:?}");
        }
    }
}

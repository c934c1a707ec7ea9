//! A small training run on the repository's real driving frames.

use onebit_detector::frames::images;
use onebit_distill::recipe::Recipe;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The repository's real driving frames.
pub(crate) fn frames() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/frames");
    images::list(&[folder]).expect("the demo's frames are in the repository")
}

/// Writes a recipe of small pictures, a small network and these further lines, and the set `set`: four frames
/// with a box in each.
pub(crate) fn recipe(folder: &Path, topology: &str, lines: &str) -> PathBuf {
    fs::create_dir_all(folder.join("set/image_2")).unwrap();
    fs::create_dir_all(folder.join("set/label_2")).unwrap();
    for (index, frame) in frames().iter().take(4).enumerate() {
        fs::copy(frame, folder.join(format!("set/image_2/{index}.jpg"))).unwrap();
        let label = "Car 0 0 -10 810 400 950 500 -1 -1 -1 -1000 -1000 -1000 -10\n";
        fs::write(folder.join(format!("set/label_2/{index}.txt")), label).unwrap();
    }
    let data = if lines.contains("data:") { "" } else { "data: {train: [{path: set}], classes: {Car: car}}\n" };
    let window = if lines.contains("windows:") { "" } else { "window: 64x64\n" };
    let yaml = format!("network: {{topology: {topology}, width: 0.125, input: 160x96}}\n{window}batch: 2\n{data}{lines}\n");
    let path = folder.join("recipe.yaml");
    fs::write(&path, yaml).unwrap();
    path
}

/// The recipe, read back.
pub(crate) fn loaded(folder: &Path, topology: &str, lines: &str) -> Recipe {
    Recipe::load(&recipe(folder, topology, lines)).unwrap()
}

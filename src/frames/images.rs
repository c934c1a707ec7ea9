//! Image files: which there are, in the order in which a person counts, and their pixels.

use image::{ImageReader, RgbImage};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Extensions of the files that [`list`] takes for images, in lower case.
pub const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// An image file that cannot be found or read.
#[derive(Debug, Error)]
pub enum ImageFileError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that was named does not have an image's extension.
    #[error("{}: not an image file; {} are read", path.display(), EXTENSIONS.join(", "))]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// A folder has no image in it.
    #[error("{}: no image in this folder; {} are looked for", path.display(), EXTENSIONS.join(", "))]
    NoImage {
        /// The folder.
        path: PathBuf,
    },
    /// The bytes are no image.
    #[error("{}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: image::ImageError,
    },
}

/// The image files that `inputs` name: a file stands for itself, a folder for the images in it (not in its folders), in
/// natural order.
///
/// # Errors
/// If an input cannot be read, is a file without an image's extension, or a folder without an image.
pub fn list<P: AsRef<Path>>(inputs: &[P]) -> Result<Vec<PathBuf>, ImageFileError> {
    let mut images = Vec::new();
    for path in inputs.iter().map(AsRef::as_ref) {
        let io_error = |source| ImageFileError::Io { path: path.into(), source };
        if fs::metadata(path).map_err(io_error)?.is_dir() {
            let entries: Vec<_> = fs::read_dir(path).map_err(io_error)?.collect::<Result<_, _>>().map_err(io_error)?;
            let mut inside: Vec<_> = entries.iter().map(fs::DirEntry::path).filter(|p| p.is_file() && is_image(p)).collect();
            if inside.is_empty() {
                return Err(ImageFileError::NoImage { path: path.into() });
            }
            inside.sort_by_cached_key(|p| natural_key(&p.to_string_lossy()));
            images.append(&mut inside);
        } else if is_image(path) {
            images.push(path.into());
        } else {
            return Err(ImageFileError::Extension { path: path.into() });
        }
    }
    Ok(images)
}

/// Columns and rows of an image file, from its header: whether the pixels behind it are whole is not known.
///
/// # Errors
/// If the file cannot be read, or its bytes do not begin as a JPEG or PNG image.
pub fn size(path: &Path) -> Result<[u32; 2], ImageFileError> {
    match open(path)?.into_dimensions() {
        Ok((width, height)) => Ok([width, height]),
        Err(source) => Err(ImageFileError::Decode { path: path.into(), source }),
    }
}

/// The pixels of an image file. Its bytes say which format it is, not its name; grey becomes RGB, alpha is dropped.
///
/// # Errors
/// If the file cannot be read, or its bytes are no JPEG or PNG image.
pub fn decode(path: &Path) -> Result<RgbImage, ImageFileError> {
    match open(path)?.decode() {
        Ok(image) => Ok(image.into_rgb8()),
        Err(source) => Err(ImageFileError::Decode { path: path.into(), source }),
    }
}

fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, ImageFileError> {
    let io_error = |source| ImageFileError::Io { path: path.into(), source };
    ImageReader::open(path).map_err(io_error)?.with_guessed_format().map_err(io_error)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// A run of digits or of other characters. Numbers are compared by length, then digit by digit: any length is possible.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Run {
    Number(usize, String),
    Text(String),
}

/// Sorts `frame2` before `frame10`. The name itself comes last and settles `1` against `01`.
fn natural_key(name: &str) -> (impl Ord + use<>, String) {
    let characters: Vec<char> = name.chars().collect();
    let runs: Vec<Run> = characters
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .map(|run| {
            let text: String = run.iter().collect();
            if run[0].is_ascii_digit() {
                let number = text.trim_start_matches('0');
                Run::Number(number.len(), number.into())
            } else {
                Run::Text(text)
            }
        })
        .collect();
    (runs, name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect()
    }

    #[test]
    fn a_folder_is_listed_in_natural_order_and_only_its_images() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            ["f10.png", "f2.PNG", "f02.PNG", "f2b.jpeg", "f99999999999999999999999.jpg", "a.jpg", "notes.txt", "png"];
        for name in files {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("folder.png")).unwrap();
        let single = folder.path().join("f10.png");
        let listed = list(&[single.as_path(), folder.path()]).unwrap();
        assert_eq!(
            names(&listed),
            ["f10.png", "a.jpg", "f02.PNG", "f2.PNG", "f2b.jpeg", "f10.png", "f99999999999999999999999.jpg"]
        );
    }

    #[test]
    fn what_is_no_image_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("notes.txt"), "").unwrap();
        fs::write(path("broken.png"), "no picture").unwrap();
        RgbImage::new(8, 8).save(path("cut.png")).unwrap();
        let bytes = fs::read(path("cut.png")).unwrap();
        fs::write(path("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
        fs::create_dir(path("empty")).unwrap();
        assert!(matches!(list(&[path("empty")]), Err(ImageFileError::NoImage { path: p }) if p == path("empty")));
        assert!(matches!(list(&[path("missing")]), Err(ImageFileError::Io { path: p, .. }) if p == path("missing")));
        let error = list(&[path("notes.txt")]).unwrap_err().to_string();
        assert!(error.ends_with("notes.txt: not an image file; jpg, jpeg, png are read"), "{error}");
        for name in ["broken.png", "cut.png"] {
            let error = decode(&path(name)).unwrap_err();
            assert!(matches!(&error, ImageFileError::Decode { path: p, .. } if *p == path(name)), "{error}");
        }
        assert_eq!(size(&path("cut.png")).unwrap(), [8, 8]);
        assert!(matches!(size(&path("broken.png")), Err(ImageFileError::Decode { path: p, .. }) if p == path("broken.png")));
        assert!(matches!(decode(&path("missing")), Err(ImageFileError::Io { .. })));
    }

    #[test]
    fn bytes_decide_the_format_and_grey_becomes_rgb() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        image::GrayImage::from_raw(2, 1, vec![7, 250]).unwrap().save_with_format(&path, image::ImageFormat::Png).unwrap();
        assert_eq!(decode(&path).unwrap().as_raw(), &[7, 7, 7, 250, 250, 250]);
        assert_eq!(size(&path).unwrap(), [2, 1]);
    }
}

//! Pictures on disk.

use image::{ImageReader, RgbImage};
use std::{
    cmp::Ordering,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Endings of the files that are read, in lower case.
pub const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// A picture that cannot be had.
#[derive(Debug, Error)]
pub enum ImageFileError {
    /// The file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no picture, or a broken one.
    #[error("{}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: image::ImageError,
    },
    /// A file whose ending is not one of [`EXTENSIONS`].
    #[error("{}: not a .jpg, .jpeg or .png file", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// A folder without pictures.
    #[error("{}: the folder has no .jpg, .jpeg or .png file", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
}

/// The pictures that `inputs` name: files as they stand, folders by their pictures in natural order (2 before 10).
///
/// # Errors
/// If an input does not exist, is a file of another kind, or a folder without pictures.
pub fn list(inputs: &[impl AsRef<Path>]) -> Result<Vec<PathBuf>, ImageFileError> {
    let mut files = Vec::new();
    for path in inputs.iter().map(AsRef::as_ref) {
        if path.is_dir() {
            files.extend(list_folder(path)?);
        } else if !has_extension(path) {
            return Err(ImageFileError::Kind { path: path.into() });
        } else {
            fs::metadata(path).map_err(|source| ImageFileError::Read { path: path.into(), source })?;
            files.push(path.to_owned());
        }
    }
    Ok(files)
}

fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, ImageFileError> {
    let fail = |source| ImageFileError::Read { path: folder.into(), source };
    let entries = fs::read_dir(folder).map_err(fail)?.collect::<io::Result<Vec<_>>>().map_err(fail)?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(|path| has_extension(path)).collect();
    if files.is_empty() {
        return Err(ImageFileError::Empty { path: folder.into() });
    }
    files.sort_by(|a, b| natural_order(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(files)
}

fn has_extension(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known)
}

/// Reads a picture. The decoder is chosen by the file's content, not by its ending.
///
/// # Errors
/// If the file cannot be read or decoded.
pub fn read(path: &Path) -> Result<RgbImage, ImageFileError> {
    let fail = |source| ImageFileError::Read { path: path.into(), source };
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(fail)?;
    let picture = reader.decode().map_err(|source| ImageFileError::Decode { path: path.into(), source })?;
    Ok(picture.into_rgb8())
}

/// Runs of digits compare as numbers, everything else byte by byte.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (left, right) = (take_number(&mut a), take_number(&mut b));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Takes the digits at the front of a text; returns them without leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    *text = rest;
    &number[number.iter().take_while(|&&b| b == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_listed_in_natural_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10.png", "9.png", "a2.JPG", "a10.jpeg", "0011.png", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let files = list(&[folder.path()]).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["9.png", "10.png", "0011.png", "a2.JPG", "a10.jpeg"]);
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("broken.png"), "no picture").unwrap();
        assert!(read(&path("broken.png")).unwrap_err().to_string().contains("broken.png: "));
        assert!(list(&[path("missing.png")]).unwrap_err().to_string().contains("missing.png: No such file"));
        assert!(list(&[path("notes.txt")]).unwrap_err().to_string().ends_with("notes.txt: not a .jpg, .jpeg or .png file"));
        fs::create_dir(path("empty")).unwrap();
        assert!(list(&[path("empty")]).unwrap_err().to_string().ends_with("the folder has no .jpg, .jpeg or .png file"));
    }
}

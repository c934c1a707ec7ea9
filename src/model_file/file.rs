//! Models on disk.

use super::{Model, ModelError, container::Container, decode::decode, encode::encode, key};
use crate::large_pages;
use bytes::Bytes;
use std::{
    fs::{File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// The most bytes that a file may have, many times those of the networks that the project is for.
pub const MAX_FILE_BYTES: u64 = 2 << 30;

impl Model {
    /// Reads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the path and what is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::load_and(path, |model| model)
    }

    /// Reads a model file and makes something of the model, a detector say, while the checksum of the file is still being
    /// computed. All else has been checked by then; if the checksum is wrong, what was made is dropped.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_and<T>(path: impl AsRef<Path>, prepare: impl FnOnce(Self) -> T) -> Result<T, ModelError> {
        let path = path.as_ref();
        let load = || decode(&Container::parse(&read(path)?)?, prepare);
        load().map_err(|reason| ModelError::File { path: path.into(), reason: reason.into() })
    }

    /// Reads and checks a model from the bytes of a file. Weight bits are not copied.
    ///
    /// # Errors
    /// Each way in which a file can be wrong has its own variant of [`ModelError`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self, ModelError> {
        decode(&Container::parse(&bytes.into())?, |model| model)
    }

    /// Writes the model to a file. A file that is there already is replaced in one step, or not at all.
    ///
    /// # Errors
    /// [`ModelError::File`] with the reason: as [`Model::to_bytes`], or the system cannot write there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let path = path.as_ref();
        let save = || replace(path, &self.to_bytes()?);
        save().map_err(|reason| ModelError::File { path: path.into(), reason: reason.into() })
    }

    /// The bytes of the model's file. They depend on the model alone.
    ///
    /// # Errors
    /// As [`Model::check`], or if the description is larger than [`super::MAX_HEADER_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        encode(self)?.to_bytes()
    }

    /// The checksum of the model's file: SHA-256 over everything in it, in hexadecimal.
    ///
    /// # Errors
    /// As [`Model::check`].
    pub fn hash(&self) -> Result<String, ModelError> {
        let mut metadata = encode(self)?.metadata;
        Ok(metadata.remove(key::SHA256).expect("encode puts it there"))
    }
}

/// The bytes of a file.
fn read(path: &Path) -> Result<Bytes, ModelError> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file").into());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(ModelError::FileTooLarge(metadata.len()));
    }
    let length = metadata.len() as usize; // the limit fits any usize
    let (mut pages, start) = large_pages::zeroed(length)?;
    file.read_exact(&mut pages[start..][..length])?;
    Ok(Bytes::from_owner(pages).slice(start..start + length))
}

/// Writes beside the destination, then renames: whoever reads sees the old file or the new one, whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As any new file, within the user's umask; a temporary file would be the owner's alone.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

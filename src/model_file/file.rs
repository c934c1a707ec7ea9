//! Models on disk.

use super::{Model, ModelError, container::Container, decode::decode, encode::encode, key};
use memmap2::Mmap;
use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

impl Model {
    /// Reads and checks a model file.
    ///
    /// # Errors
    /// [`ModelError::File`], which names the path and what is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        load(path).map_err(|reason| ModelError::File { path: path.into(), reason: reason.into() })
    }

    /// Reads and checks a model from the bytes of a file.
    ///
    /// # Errors
    /// Each way in which a file can be wrong has its own variant of [`ModelError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        decode(&Container::parse(bytes)?)
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

fn load(path: &Path) -> Result<Model, ModelError> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file").into());
    }
    // SAFETY: the map is read-only and gone when this function returns. Rust cannot know that nobody writes to the file
    // meanwhile; `Model::save` never does, it puts a new file in the place of the old one.
    let bytes = unsafe { Mmap::map(&file)? };
    Model::from_bytes(&bytes)
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

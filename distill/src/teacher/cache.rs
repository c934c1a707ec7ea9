//! Features on disk, so that a network need not run again on what it has seen before.
//!
//! What the taps give is decided by the tensor that the network is given and by what runs on it: the file, its taps, and
//! ONNX Runtime with its provider and threads. A digest of all that is the name of an entry. So nothing of recipes has to be
//! compared: wherever the same pictures come again, in another run, variant or epoch, their features are found, and they are
//! the bits that the network would give. Values are `f32` for that reason.
//!
//! An entry holds the features of one run of the network: those of a batch, or of one picture where the graph takes one. It
//! is a safetensors file, `KEY.safetensors`, whose tensors are called after the taps; `crc32c` in its metadata is a checksum
//! over key, shapes and values. Entries are written beside and renamed, and never changed: several processes can share a
//! folder. A broken one is told, computed anew and replaced.

use super::{FeatureMap, TeacherError, hex};
use crate::recipe::CacheConfig;
use crc32c::{crc32c, crc32c_append};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The checksum among the metadata of an entry.
const CHECKSUM: &str = "crc32c";
/// How the names of files end that are being written.
const PART: &str = ".part";
/// A file that has been "being written" for so long was left by a process that was killed.
const LEFT_OVER: Duration = Duration::from_secs(3600);

/// The entries of one network with its taps, in a folder that may hold those of others.
pub(super) struct Cache {
    folder: PathBuf,
    taps: Vec<String>,
    /// A digest of the network and its taps, to which inputs are added.
    network: Sha256,
    /// Bytes that the folder may still grow by; `None` once it has been told that nothing more is written.
    room: Option<u64>,
}

impl Cache {
    /// Opens a folder, which is made if it is not there. `network` says everything of the network but the names of its taps.
    pub(super) fn open(config: &CacheConfig, network: &str, taps: &[String]) -> Result<Self, TeacherError> {
        let used =
            prepare(&config.folder).map_err(|source| TeacherError::Cache { folder: config.folder.clone(), source })?;
        let mut digest = Sha256::new_with_prefix("onebit_distill, features, 1\n");
        digest.update((taps.len() as u64).to_le_bytes());
        for part in taps.iter().map(String::as_str).chain([network]) {
            digest.update((part.len() as u64).to_le_bytes()); // so that no two lists are one
            digest.update(part);
        }
        let room = Some(((config.gigabytes * 1e9) as u64).saturating_sub(used));
        Ok(Self { folder: config.folder.clone(), taps: taps.to_vec(), network: digest, room })
    }

    /// The key of the features that the network gives for this input.
    pub(super) fn key(&self, shape: [usize; 4], input: &[f32]) -> String {
        let mut digest = self.network.clone();
        shape.iter().for_each(|&side| digest.update((side as u64).to_le_bytes()));
        digest.update(little_endian(input).as_flattened());
        hex(&digest.finalize())
    }

    /// The features of this key, a map for each tap, if they are there. Why an entry cannot be used is told.
    pub(super) fn read(&self, key: &str) -> Option<Vec<FeatureMap>> {
        let path = self.path(key);
        load(&path, key, &self.taps).unwrap_or_else(|reason| {
            log::warn!("{}: {reason}; the teacher computes these features anew", path.display());
            None
        })
    }

    /// Keeps the features of this key as long as there is room. A training run goes on without: why is told once.
    pub(super) fn write(&mut self, key: &str, maps: &[FeatureMap]) {
        let Some(room) = self.room else { return };
        let bytes = encode(key, &self.taps, maps);
        let written = match room.checked_sub(bytes.len() as u64) {
            Some(left) => replace(&self.path(key), &bytes).map(|()| left).map_err(|e| e.to_string()),
            None => Err("is as large as 'teacher.cache.gigabytes' allows".to_owned()),
        };
        self.room = written.inspect_err(|reason| log::warn!("{}: {reason}; no more is written", self.folder.display())).ok();
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.safetensors"))
    }
}

/// Makes the folder, takes away what killed processes left, and gives the bytes of the rest.
fn prepare(folder: &Path) -> io::Result<u64> {
    fs::create_dir_all(folder)?;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue }; // another process has just renamed it
        if !is_left_over(&entry.path(), &metadata) || fs::remove_file(entry.path()).is_err() {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}

fn is_left_over(path: &Path, metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
    path.as_os_str().as_encoded_bytes().ends_with(PART.as_bytes()) && age.is_some_and(|age| age > LEFT_OVER)
}

/// The maps in an entry, if it is there; or what is wrong with it.
fn load(path: &Path, key: &str, taps: &[String]) -> Result<Option<Vec<FeatureMap>>, String> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| e.to_string())?,
    };
    // SAFETY: the map is read-only and gone when this function returns. Rust cannot know that nobody writes to the file
    // meanwhile; `replace` never does, it puts a new file in the place of the old one.
    let bytes = unsafe { Mmap::map(&file) }.map_err(|e| e.to_string())?;
    decode(&bytes, key, taps).map(Some)
}

fn decode(bytes: &[u8], key: &str, taps: &[String]) -> Result<Vec<FeatureMap>, String> {
    let not_safetensors = |e| format!("not a safetensors file: {e}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
    let tensors: Result<Vec<_>, _> = taps.iter().map(|tap| file.tensor(tap)).collect();
    let tensors = tensors.map_err(|e| e.to_string())?;
    let kept = header.metadata().as_ref().and_then(|metadata| metadata.get(CHECKSUM));
    if kept != Some(&checksum(key, &tensors)) {
        return Err("its checksum is not that of its contents".into());
    }
    tensors.iter().map(|tensor| feature_map(tensor).ok_or("holds a tensor that is no feature map".into())).collect()
}

fn feature_map(tensor: &TensorView<'_>) -> Option<FeatureMap> {
    let shape = tensor.shape().try_into().ok().filter(|_| tensor.dtype() == Dtype::F32)?;
    let (words, _) = tensor.data().as_chunks::<4>(); // whole ones: the container is checked
    Some(FeatureMap { shape, values: words.iter().map(|word| f32::from_le_bytes(*word)).collect() })
}

fn encode(key: &str, taps: &[String], maps: &[FeatureMap]) -> Vec<u8> {
    let values: Vec<_> = maps.iter().map(|map| little_endian(&map.values)).collect();
    let tensors: Vec<_> = maps.iter().zip(&values).map(|(map, values)| tensor(map, values)).collect();
    let metadata = [(CHECKSUM.to_owned(), checksum(key, &tensors))].into();
    safetensors::serialize(taps.iter().zip(&tensors), Some(metadata)).expect("a few names make a short header")
}

fn tensor<'a>(map: &FeatureMap, values: &'a [[u8; 4]]) -> TensorView<'a> {
    let view = TensorView::new(Dtype::F32, map.shape.into(), values.as_flattened());
    view.expect("a map has as many values as its shape says")
}

/// Over the key and each tensor's shape and values, in hexadecimal.
fn checksum(key: &str, tensors: &[TensorView<'_>]) -> String {
    let mut sum = crc32c(key.as_bytes());
    for tensor in tensors {
        sum = tensor.shape().iter().fold(sum, |sum, &side| crc32c_append(sum, &(side as u64).to_le_bytes()));
        sum = crc32c_append(sum, tensor.data());
    }
    format!("{sum:08x}")
}

fn little_endian(values: &[f32]) -> Vec<[u8; 4]> {
    values.iter().map(|value| value.to_le_bytes()).collect()
}

/// Writes beside the destination, then renames: whoever reads sees the old file or the new one, whole. What a loss of power
/// leaves of it does not match its checksum.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("an entry lies in the cache's folder");
    // As any new file, within the user's umask; a temporary file would be the owner's alone.
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().suffix(PART).permissions(permissions).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::FileTimes, time::SystemTime};

    const KEY: &str = "key";

    fn cache(folder: &Path, gigabytes: f64) -> Cache {
        let config = CacheConfig { folder: folder.into(), gigabytes };
        Cache::open(&config, "network", &["one".to_owned(), "two".to_owned()]).unwrap()
    }

    /// Values that must keep their bits, NaN's among them.
    fn maps() -> Vec<FeatureMap> {
        let values = vec![0.1, -0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY, f32::from_bits(0x7fc0_1234), -7.5];
        let two = FeatureMap { shape: [1, 1, 1, 2], values: vec![1.0, 2.0] };
        vec![FeatureMap { shape: [1, 2, 3, 1], values }, two]
    }

    fn bits(maps: &[FeatureMap]) -> Vec<([usize; 4], Vec<u32>)> {
        maps.iter().map(|map| (map.shape, map.values.iter().map(|v| v.to_bits()).collect())).collect()
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn what_is_written_is_read_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("made/if/missing");
        let mut cache = cache(&within, 1.0);
        assert_eq!(cache.read(KEY), None);
        cache.write(KEY, &maps());
        assert_eq!(bits(&cache.read(KEY).unwrap()), bits(&maps()));
        assert_eq!(cache.read("other"), None);
        assert_eq!(files(&within), [within.join("key.safetensors")]);
    }

    #[test]
    fn a_key_depends_on_everything_that_decides_the_features() {
        let folder = tempfile::tempdir().unwrap();
        let key = |network: &str, taps: &[&str], shape, input: &[f32]| {
            let config = CacheConfig { folder: folder.path().into(), gigabytes: 1.0 };
            let taps: Vec<_> = taps.iter().map(|tap| (*tap).to_owned()).collect();
            Cache::open(&config, network, &taps).unwrap().key(shape, input)
        };
        let input = [0.0, 1.0, 2.0];
        let good = key("network", &["one", "two"], [1, 3, 1, 1], &input);
        assert!(good.len() == 64 && good.bytes().all(|digit| digit.is_ascii_hexdigit()), "{good}");
        assert_eq!(key("network", &["one", "two"], [1, 3, 1, 1], &input), good);
        for other in [
            key("other", &["one", "two"], [1, 3, 1, 1], &input),
            key("network", &["one"], [1, 3, 1, 1], &input),
            key("network", &["onetwo"], [1, 3, 1, 1], &input),
            key("network", &["two", "one"], [1, 3, 1, 1], &input),
            key("network", &["one", "two"], [1, 1, 1, 3], &input),
            key("network", &["one", "two"], [1, 3, 1, 1], &[0.0, 1.0, 2.0_f32.next_up()]),
            key("network", &["one", "two"], [1, 3, 1, 1], &[-0.0, 1.0, 2.0]),
        ] {
            assert_ne!(other, good);
        }
    }

    #[test]
    fn no_broken_entry_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = cache(folder.path(), 1.0);
        cache.write(KEY, &maps());
        let path = cache.path(KEY);
        let good = fs::read(&path).unwrap();
        for length in 0..good.len() {
            assert!(decode(&good[..length], KEY, &cache.taps).is_err(), "cut to {length} bytes");
        }
        // A changed bit is found, or (in the spaces that pad the header, say) changes nothing.
        for at in 0..8 * good.len() {
            let mut bytes = good.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            if let Ok(found) = decode(&bytes, KEY, &cache.taps) {
                assert!(at / 8 < good.len() - 32, "in the values, bit {at}");
                assert_eq!(bits(&found), bits(&maps()), "bit {at}");
            }
        }
        assert!(decode(&good, "another key", &cache.taps).is_err());
        assert!(decode(&good, KEY, &["one".to_owned(), "three".to_owned()]).is_err());

        for broken in [&b""[..], b"no features", &good[..good.len() - 1]] {
            fs::write(&path, broken).unwrap();
            assert_eq!(cache.read(KEY), None);
            cache.write(KEY, &maps());
            assert_eq!(fs::read(&path).unwrap(), good, "replaced");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(cache.read(KEY), None);
    }

    #[test]
    fn a_full_folder_is_read_and_no_longer_written() {
        let folder = tempfile::tempdir().unwrap();
        let size = encode(KEY, &cache(folder.path(), 1.0).taps, &maps()).len() as f64;
        let mut small = cache(folder.path(), 2.5 * size / 1e9);
        ["a", "b", "c", "d"].iter().for_each(|key| small.write(key, &maps()));
        assert_eq!(files(folder.path()).len(), 2);
        assert!(small.read("b").is_some() && small.read("c").is_none());
        // What lies there counts for the next process.
        cache(folder.path(), 2.5 * size / 1e9).write("c", &maps());
        assert_eq!(files(folder.path()).len(), 2);
        cache(folder.path(), 3.5 * size / 1e9).write("c", &maps());
        assert_eq!(files(folder.path()).len(), 3);
    }

    #[test]
    fn what_a_killed_process_left_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old.part", "new.part"].map(|name| folder.path().join(name));
        [&old, &new].iter().for_each(|path| fs::write(path, b"half").unwrap());
        let earlier = SystemTime::now() - 2 * LEFT_OVER;
        File::options().write(true).open(&old).unwrap().set_times(FileTimes::new().set_modified(earlier)).unwrap();
        cache(folder.path(), 1.0);
        assert_eq!(files(folder.path()), [new], "another process may be writing it");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let config = CacheConfig { folder: file.clone(), gigabytes: 1.0 };
        let error = Cache::open(&config, "network", &[]).err().expect("a file is no folder").to_string();
        assert!(error.starts_with("teacher.cache.folder: ") && error.contains(&*file.to_string_lossy()), "{error}");
    }
}

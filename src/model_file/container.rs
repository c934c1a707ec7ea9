//! The safetensors container: eight bytes with the header's length, the header (JSON), the tensors' bytes.
//!
//! Types are those of the crate `safetensors`. Its reader does not name the tensor that is wrong and its writer puts the
//! metadata in random order, so both are written here: bytes depend on the contents alone.

use super::{ModelError, TensorError};
use bytes::Bytes;
use safetensors::{Dtype, tensor::TensorInfo};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use std::{cmp::Reverse, collections::BTreeMap, fmt};

/// The most bytes that a header may have. A model of 512 layers needs about a quarter of it.
pub const MAX_HEADER_BYTES: usize = 1 << 20;

/// Bytes of the header's length, to which the header is padded as well.
const LENGTH_BYTES: usize = 8;
const METADATA: &str = "__metadata__";

/// Metadata and tensors by name, in the order of their names.
#[derive(Debug, PartialEq)]
pub(super) struct Container {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

/// A tensor, C order, little endian.
#[derive(Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) data: Bytes,
}

impl Container {
    /// Finds metadata and tensors; the tensors share the file's bytes.
    pub(super) fn parse(bytes: &Bytes) -> Result<Self, ModelError> {
        let (header, data) = split(bytes)?;
        let Header { metadata, mut tensors } =
            serde_json::from_slice(header).map_err(|e| ModelError::NotSafetensors(format!("header: {e}")))?;
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let mut end = 0;
        for (name, info) in &tensors {
            end = end_of(info, end).map_err(|e| e.of(name))?;
        }
        let (expected, found) = ((bytes.len() - data.len() + end) as u64, bytes.len() as u64);
        if found < expected {
            return Err(ModelError::Truncated { expected, found });
        }
        if found > expected {
            return Err(ModelError::TrailingBytes { expected, found });
        }
        let view = |info: TensorInfo| {
            let (start, end) = info.data_offsets;
            Tensor { dtype: info.dtype, shape: info.shape, data: bytes.slice_ref(&data[start..end]) }
        };
        Ok(Self { metadata, tensors: tensors.into_iter().map(|(name, info)| (name, view(info))).collect() })
    }

    /// The file. Tensors stand as the format asks for: the widest elements first (so that all are aligned), then by name.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let mut order: Vec<_> = self.tensors.iter().collect();
        order.sort_by_key(|(_, tensor)| Reverse(tensor.dtype.bitsize()));
        let mut end = 0;
        let info = |(name, tensor): &(&String, &Tensor)| {
            let start = end;
            end += tensor.data.len();
            let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
            ((*name).clone(), info)
        };
        let tensors = order.iter().map(info).collect();
        let header = Header { metadata: self.metadata.clone(), tensors };
        let mut header = serde_json::to_vec(&header).expect("strings and integers are always JSON");
        header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');
        if header.len() > MAX_HEADER_BYTES {
            return Err(ModelError::HeaderTooLarge(header.len() as u64));
        }
        let mut bytes = Vec::with_capacity(LENGTH_BYTES + header.len() + end);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        order.iter().for_each(|(_, tensor)| bytes.extend_from_slice(&tensor.data));
        Ok(bytes)
    }
}

/// Header and data.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ModelError> {
    let found = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(ModelError::Truncated { expected: LENGTH_BYTES as u64, found });
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES as u64 {
        return Err(ModelError::HeaderTooLarge(length));
    }
    // The limit fits any usize.
    rest.split_at_checked(length as usize).ok_or(ModelError::Truncated { expected: LENGTH_BYTES as u64 + length, found })
}

/// Where a tensor's bytes end, if they start at `start` and its shape fills them.
fn end_of(info: &TensorInfo, start: usize) -> Result<usize, TensorError> {
    let (found, end) = info.data_offsets;
    if found != start {
        return Err(TensorError::Offset { expected: start, found });
    }
    let bytes = end.checked_sub(start);
    let needed = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, &side| bits.checked_mul(side));
    match (needed, bytes.and_then(|bytes| bytes.checked_mul(8))) {
        (Some(needed), Some(bits)) if needed == bits => Ok(end),
        _ => Err(TensorError::Length { dtype: info.dtype, shape: info.shape.clone(), start, end }),
    }
}

/// The header: metadata first, then the tensors in the order of their bytes.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.tensors.len()))?;
        map.serialize_entry(METADATA, &self.metadata)?;
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> de::Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of tensors")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let again = if name == METADATA {
                metadata.replace(map.next_value()?).is_some()
            } else {
                tensors.insert(name.clone(), map.next_value()?).is_some()
            };
            if again {
                return Err(de::Error::custom(format_args!("'{name}' stands twice")));
            }
        }
        Ok(Header { metadata: metadata.unwrap_or_default(), tensors: tensors.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Container {
        let tensor =
            |dtype, shape: &[usize], data: &'static [u8]| Tensor { dtype, shape: shape.to_vec(), data: data.into() };
        Container {
            metadata: BTreeMap::from([("b".into(), "2".into()), ("a".into(), "\"1\"".into())]),
            tensors: BTreeMap::from([
                ("a.bits".into(), tensor(Dtype::U8, &[3, 1], &[7, 8, 9])),
                ("b.scale".into(), tensor(Dtype::F32, &[1], &[0, 0, 128, 63])),
            ]),
        }
    }

    #[test]
    fn bytes_are_laid_out_as_the_format_says() {
        let bytes = Bytes::from(sample().to_bytes().unwrap());
        let header = concat!(
            r#"{"__metadata__":{"a":"\"1\"","b":"2"},"#,
            r#""b.scale":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#,
            r#""a.bits":{"dtype":"U8","shape":[3,1],"data_offsets":[4,7]}}"#,
        );
        let padded = header.len().next_multiple_of(8);
        assert_eq!(bytes[..8], (padded as u64).to_le_bytes());
        assert_eq!(std::str::from_utf8(&bytes[8..8 + padded]).unwrap().trim_end_matches(' '), header);
        assert_eq!(bytes[8 + padded..], [0, 0, 128, 63, 7, 8, 9]);
        assert_eq!(Container::parse(&bytes).unwrap(), sample());
    }

    #[test]
    fn the_safetensors_crate_reads_it() {
        let bytes = sample().to_bytes().unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("a.bits").unwrap().data(), [7, 8, 9]);
        assert_eq!(read.tensor("b.scale").unwrap().shape(), [1]);
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["a"], "\"1\"");
    }

    /// A file with this header and `data` zero bytes.
    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn a_bad_container_is_told_what_is_wrong() {
        let tensor = |info: &str| format!(r#"{{"__metadata__":{{}},"x":{info}}}"#);
        let check = |bytes: &[u8], words: &str| {
            let error = Container::parse(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
            assert!(error.contains(words), "'{error}' does not say '{words}'");
        };
        check(b"", "truncated: 0 bytes, must be 8");
        check(&[0xff; 100], "a header of 18446744073709551615 bytes, at most 1048576");
        check(&file("{}", 0)[..9], "truncated: 9 bytes, must be 10");
        check(&file("[]", 0), "not a safetensors file: header: invalid type: sequence, expected a JSON object of tensors");
        check(&file("{\"\u{0}\":1}", 0), "not a safetensors file: header: control character");
        check(&[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(), "not a safetensors file: header: expected value");
        check(&file(&tensor(r#"{"dtype":"U9","shape":[1],"data_offsets":[0,1]}"#), 1), "unknown variant `U9`");
        check(&file(&tensor(r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}"#), 1), "invalid value: integer `-1`");
        check(&file(&tensor(r#"{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#), 1), "truncated: 80 bytes, must be 81");
        check(&file(&tensor(r#"{"dtype":"U8","shape":[2],"data_offsets":[0,2]}"#), 3), "82 bytes, must end after 81");
        check(&file(&tensor(r#"{"dtype":"U8","shape":[2],"data_offsets":[1,3]}"#), 3), "tensor 'x': starts at byte 1");
        check(&file(&tensor(r#"{"dtype":"U8","shape":[3],"data_offsets":[0,2]}"#), 2), "tensor 'x': shape [3] of U8");
        check(&file(&tensor(r#"{"dtype":"U8","shape":[0],"data_offsets":[0,-1]}"#), 2), "invalid value: integer `-1`");
        let huge = r#"{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,4]}"#;
        check(&file(&tensor(huge), 4), "does not fill bytes 0 to 4");
        let wrapping = r#"{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}"#;
        check(&file(&tensor(wrapping), 0), "does not fill bytes 0 to 0");
        let far = r#"{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}"#;
        check(&file(&tensor(far), 4), "does not fill bytes 0 to 18446744073709551615");
        check(&file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "'__metadata__' stands twice");
        let info = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
        check(&file(&format!(r#"{{"x":{info},"x":{info}}}"#), 0), "'x' stands twice");
    }

    #[test]
    fn a_header_that_no_reader_takes_is_not_written() {
        let metadata = BTreeMap::from([("k".into(), "v".repeat(MAX_HEADER_BYTES))]);
        let error = Container { metadata, tensors: BTreeMap::new() }.to_bytes().unwrap_err();
        assert!(matches!(error, ModelError::HeaderTooLarge(_)), "{error}");
    }
}

//! TensorBoard's event files: TFRecord frames, each around one `Event` message (`tensorflow/core/util/event.proto`).

use super::TrainError;
use prost::Message;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The fields of `Event` that are written.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// In a file's first event.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SessionLog.status`: events of this step and later ones that were written before are void.
const START: i32 = 1;

/// An event file under way.
pub(super) struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Begins a file of its own for the steps after `done`; TensorBoard drops what older files of the folder say of them.
    pub(super) fn open(folder: &Path, done: u64) -> Result<Self, TrainError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = folder.join(format!("events.out.tfevents.{:010}.{:09}", now.as_secs(), now.subsec_nanos()));
        let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(TrainError::file(&path))?;
        let mut events = Self { path, file };
        events.write(Event { file_version: Some("brain.Event:2".into()), ..Event::default() })?;
        events.write(Event { step: done as i64 + 1, session: Some(SessionLog { status: START }), ..Event::default() })?;
        Ok(events)
    }

    /// Writes values of a step, each with its tag.
    pub(super) fn scalars(&mut self, step: u64, values: Vec<(String, f64)>) -> Result<(), TrainError> {
        let values = values.into_iter().map(|(tag, value)| Value { tag, simple_value: Some(value as f32) }).collect();
        self.write(Event { step: step as i64, summary: Some(Summary { values }), ..Event::default() })
    }

    fn write(&mut self, event: Event) -> Result<(), TrainError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event { wall_time: now.as_secs_f64(), ..event };
        self.file.write_all(&framed(&event.encode_to_vec())).map_err(TrainError::file(&self.path))
    }
}

/// A TFRecord: length, its check sum, the bytes, their check sum.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &check_sum(&length), bytes, &check_sum(bytes)].concat()
}

/// TFRecord's masked CRC-32C.
fn check_sum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// This event as TensorBoard 2.21's own Python writer (`RecordWriter`) puts it into a file.
    #[test]
    fn a_frame_equals_tensorboard_s() {
        let event = Event { wall_time: 1.5, file_version: Some("brain.Event:2".into()), ..Event::default() };
        let bytes = framed(&event.encode_to_vec());
        assert_eq!(bytes, GOLDEN);
    }

    const GOLDEN: &[u8] = &[
        0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa3, 0x7f, 0x4b, 0x22, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0xf8, 0x3f, 0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32, 0x2a, 0x28,
        0x64, 0x6c,
    ];

    /// Reads the file with nothing of the writer's: the check sum bit by bit, the fields by their bytes.
    #[test]
    fn a_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::open(folder.path(), 7).unwrap();
        events.scalars(8, vec![("train/coords".into(), 0.25), ("rate".into(), 0.0)]).unwrap();
        let second = Events::open(folder.path(), 8).unwrap();
        assert!(second.path > events.path, "TensorBoard reads a folder's files in the order of their names");

        let bytes = fs::read(&events.path).unwrap();
        let messages = records(&bytes);
        let tail = |index: usize| &messages[index][9..]; // the wall time stands first
        assert!(messages.iter().all(|message| message[0] == 1 << 3 | 1), "field 1, 64 bits");
        assert_eq!(tail(0), [&[3 << 3 | 2, 13][..], b"brain.Event:2"].concat());
        assert_eq!(tail(1), [2 << 3, 8, 7 << 3 | 2, 2, 1 << 3, 1]);
        let quarter = [&[1 << 3 | 2, 12][..], b"train/coords", &[2 << 3 | 5], &0.25f32.to_le_bytes()].concat();
        let zero = [&[1 << 3 | 2, 4][..], b"rate", &[2 << 3 | 5], &[0; 4]].concat();
        let value = |bytes: &[u8]| [&[1 << 3 | 2, bytes.len() as u8][..], bytes].concat();
        let summary = [value(&quarter), value(&zero)].concat();
        assert_eq!(tail(2), [&[2 << 3, 8, 5 << 3 | 2, summary.len() as u8][..], &summary].concat());
    }

    fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked(&bytes[..8]));
            let (message, rest) = bytes[12..].split_at(length);
            assert_eq!(rest[..4], masked(message));
            messages.push(message);
            bytes = &rest[4..];
        }
        messages
    }

    fn masked(bytes: &[u8]) -> [u8; 4] {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            }
        }
        (!crc).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    }
}

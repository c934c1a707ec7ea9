//! Whatever stands in a file, reading it gives the model that was written or an error, without much memory.
//!
//! In a file of its own because it counts what the allocator gives out.

#[path = "support/container.rs"]
mod container;
#[path = "support/models.rs"]
mod models;

use container::Parts;
use models::{calibrated, network, tiny};
use onebit_detector::{
    model_file::{MAX_HEADER_BYTES, Model, ModelError},
    network::Topology,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::LazyLock,
};

thread_local! {
    /// Bytes that this thread holds, and the most that it held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counted for each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    HELD.set({
        let (now, peak) = HELD.get();
        (now + bytes, peak.max(now + bytes))
    });
}

// SAFETY: every call goes to the system's allocator as it is; counting touches a thread-local that allocates nothing and
// is never dropped. `realloc` is the trait's own: a new block, a copy, and the old block back, so both are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above; the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Reads a file; also gives the most memory that this took besides the file's bytes.
fn read(file: &[u8]) -> (Result<Model, ModelError>, usize) {
    let file = file.to_vec();
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let result = Model::from_bytes(file);
    let (_, peak) = HELD.get();
    (result, (peak - before) as usize)
}

/// The most memory that a file of this length may take.
fn allowed(file: &[u8]) -> usize {
    const CONSTANT: usize = 64 << 10;
    const PER_BYTE: usize = 12;
    CONSTANT + PER_BYTE * file.len()
}

static TINY: LazyLock<Model> = LazyLock::new(|| calibrated(Model::random(tiny(), 3)));
static SMALL: LazyLock<Model> =
    LazyLock::new(|| calibrated(Model::random(network(Topology::MobilenetYolo, 0.125, "96x64"), 3)));

/// Reads a changed file of `model`: an error, or the model as it was.
fn check(file: &[u8], model: &Model) -> Result<(), TestCaseError> {
    let (result, bytes) = read(file);
    prop_assert!(bytes <= allowed(file), "{bytes} bytes of memory for {} bytes of file", file.len());
    if let Ok(read) = result {
        prop_assert_eq!(&read, model, "another model was read and nobody noticed");
    }
    Ok(())
}

/// A change somewhere in a file; changes to its header are as likely as all others.
#[derive(Clone, Debug)]
enum Change {
    Byte(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Truncate,
    /// Copies a piece of the file to another place.
    Copy(Index, usize),
    /// Puts another number in the place of the next one in the text.
    Number(String),
    /// Another length of the header.
    HeaderLength(u64),
}

fn changes() -> impl Strategy<Value = Vec<(bool, Index, Change)>> {
    let number = prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        prop::sample::select(vec!["-1", "0", "1e999", "18446744073709551616", "9007199254740993", "null", "[]"])
            .prop_map(String::from),
    ];
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Byte),
        vec(any::<u8>(), 1..64).prop_map(Change::Insert),
        (1usize..64).prop_map(Change::Remove),
        Just(Change::Truncate),
        (any::<Index>(), 1usize..256).prop_map(|(from, length)| Change::Copy(from, length)),
        number.prop_map(Change::Number),
        any::<u64>().prop_map(Change::HeaderLength),
    ];
    vec((any::<bool>(), any::<Index>(), change), 1..4)
}

fn change(file: &mut Vec<u8>, in_header: bool, place: Index, change: Change) {
    if file.len() < 16 {
        return;
    }
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let place = if in_header { 8 + place.index(header.clamp(1, file.len() - 8)) } else { place.index(file.len()) };
    match change {
        Change::Byte(byte) => file[place] = byte,
        Change::Insert(bytes) => drop(file.splice(place..place, bytes)),
        Change::Remove(bytes) => drop(file.drain(place..(place + bytes).min(file.len()))),
        Change::Truncate => file.truncate(place),
        Change::Copy(from, length) => {
            let from = from.index(file.len());
            let piece = file[from..(from + length).min(file.len())].to_vec();
            file.splice(place..place, piece);
        }
        Change::Number(text) => {
            let start = (place..file.len()).find(|&i| file[i].is_ascii_digit()).unwrap_or(place);
            let end = (start..file.len()).find(|&i| !file[i].is_ascii_digit()).unwrap_or(file.len());
            file.splice(start..end, text.into_bytes());
        }
        Change::HeaderLength(length) => file[..8].copy_from_slice(&length.to_le_bytes()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_file_is_no_danger(small: bool, changes in changes()) {
        let model = if small { &SMALL } else { &TINY };
        let mut file = model.to_bytes().unwrap();
        for (in_header, place, what) in changes {
            change(&mut file, in_header, place, what);
        }
        check(&file, model)?;
    }

    /// The same with a right header around it and a right checksum, so that what lies deeper is reached.
    #[test]
    fn a_changed_description_is_no_danger(key: Index, changes in changes()) {
        let mut parts = Parts::of(&TINY.to_bytes().unwrap());
        let key = ["network", "preprocessing", "provenance"][key.index(3)];
        let mut text = parts.metadata[key].clone().into_bytes();
        for (_, place, what) in changes {
            change(&mut text, false, place, what);
        }
        parts.metadata.insert(key.into(), String::from_utf8_lossy(&text).into());
        parts.seal();
        let file = parts.file();
        let (result, bytes) = read(&file);
        prop_assert!(bytes <= allowed(&file), "{bytes} bytes of memory for {} bytes of file", file.len());
        if let Ok(read) = result {
            read.check().unwrap();
        }
    }

    #[test]
    fn any_bytes_are_no_danger(file in vec(any::<u8>(), 0..4096)) {
        let (result, bytes) = read(&file);
        prop_assert!(result.is_err() && bytes <= allowed(&file), "{bytes} bytes of memory");
    }
}

/// A file that is all header: `start`, `piece` as often as it goes in, `end`.
fn stuffed(start: &str, piece: impl Fn(usize) -> String, end: &str) -> Vec<u8> {
    let mut header = String::from(start);
    for index in 0.. {
        let piece = piece(index);
        if header.len() + piece.len() + end.len() > MAX_HEADER_BYTES {
            break;
        }
        header.push_str(&piece);
    }
    header.push_str(end);
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn the_largest_headers_take_a_bounded_multiple() {
    let tensor = r#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let network = serde_json::to_string(&TINY.network).unwrap();
    // A file with the network's description cut open at this text and filled with pieces.
    let opened = |at: &str, piece: fn(usize) -> String, end: &str| {
        let metadata = |network: String| {
            serde_json::json!({"format": "onebit_detector model", "format_version": "1", "network": network}).to_string()
        };
        let (before, after) = network.split_at(network.find(at).unwrap() + at.len());
        let text = metadata(format!("{before}\u{1f6a7}{end}{after}"));
        let (before, after) = text.split_once('\u{1f6a7}').unwrap();
        stuffed(&format!(r#"{{"__metadata__":{before}"#), |i| piece(i).replace('"', "\\\""), &format!("{after}}}"))
    };
    let files = [
        ("one long shape", stuffed(r#"{"x":{"dtype":"U8","data_offsets":[0,1],"shape":[1"#, |_| ",1".into(), "]}}")),
        ("many tensors", stuffed(&format!("{{\"x\"{tensor}"), |i| format!(",\"{i:x}\"{tensor}"), "}")),
        ("much metadata", stuffed(r#"{"__metadata__":{"x":"""#, |i| format!(",\"{i:x}\":\"\""), "}}")),
        ("deep nesting", stuffed(r#"{"x":"#, |_| "[".into(), "")),
        ("many classes", opened(r#""classes":["#, |_| "\"\",".into(), "")),
        ("many inputs", opened(r#""inputs":["#, |_| "\"image\",".into(), "")),
        ("many anchors", opened(r#""anchors":["#, |_| "[1,1],".into(), "")),
        ("many layers", opened(r#""layers":["#, |_| r#"{"name":"","inputs":[],"operation":"concat"},"#.into(), "")),
    ];
    for (name, file) in files {
        let (result, bytes) = read(&file);
        let error = result.expect_err(name).to_string();
        assert!(bytes <= allowed(&file), "{name}: {bytes} bytes of memory for {} bytes of file ({error})", file.len());
    }
}

#[test]
fn a_good_file_is_read_without_a_copy() {
    let file = Model::random(network(Topology::DarknetYolo, 0.5, "416x416"), 1).to_bytes().unwrap();
    let (result, bytes) = read(&file);
    result.unwrap();
    assert!(bytes < file.len() / 8, "{bytes} bytes of memory for {} bytes of file", file.len());
}

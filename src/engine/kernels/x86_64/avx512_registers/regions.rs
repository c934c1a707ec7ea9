//! How a layer is cut: its positions into regions and tiles, its inputs into chunks and spans, its filters into parts.
//!
//! A region is some rows of a strip of columns. The positions that its windows see are counted through, row after row, so
//! that a window reads tables at fixed distances from one another. Tiles are runs of outputs: of a row, where windows are
//! wider than one position, else of the whole region.

use super::{
    super::pack::LANES,
    build::{GROUP, TABLE},
    lookup::Shape,
};
use crate::engine::layout::Map;
use std::ops::Range;

/// Bytes of tables that a thread has at hand, at most.
pub(super) const TABLES: usize = 400 << 10;
/// Sums of a position and 32 filters that a thread has at hand, at most.
pub(super) const SUMS: usize = 3200;
/// Filters of a part, at most; more share the tables, but leave room for fewer positions.
const FILTERS: usize = 1024;
/// Positions whose tables are at hand, at least: fewer would be built twice too often.
const RING: usize = 80;
/// Rows of a region, at most: with so many, tables that two regions build weigh little.
const ROWS: usize = 13;
/// Bytes of a line of a cache.
pub(super) const LINE: usize = 64;
/// Groups of tables stand an odd multiple of so many lines apart, so that they do not compete for the same places in a cache.
const SPREAD: usize = 4;
/// What building a table takes, in lookups; about.
const BUILD: usize = 10;

/// Some groups of channels, whose tables are at hand together.
pub(super) struct Chunk {
    pub(super) groups: Range<usize>,
    /// Its rows of tables, as row of the kernel and group of the chunk, cut into spans.
    pub(super) spans: Vec<Vec<(usize, usize)>>,
}

impl Chunk {
    pub(super) fn all<S: Shape>(channels: usize) -> Vec<Self> {
        let groups = channels.div_ceil(GROUP);
        let chunk = |groups: Range<usize>| {
            let rows: Vec<_> = (0..S::KERNEL).flat_map(|y| (0..groups.len()).map(move |group| (y, group))).collect();
            let spans = even(rows.len(), S::ROWS).map(|span| rows[span].to_vec()).collect();
            Self { groups, spans }
        };
        even(groups, S::GROUPS).map(chunk).collect()
    }
}

/// The regions of a layer.
#[derive(Clone, Copy)]
pub(super) struct Regions {
    width: usize,
    height: usize,
    /// Regions one below the other.
    bands: usize,
    /// Regions side by side.
    strips: usize,
    /// Blocks of filters of every part but the last.
    pub(super) blocks: usize,
    pub(super) parts: usize,
    /// Positions whose tables are at hand.
    pub(super) ring: usize,
    /// Bytes from the tables of a group to those of the next.
    pub(super) stride: usize,
}

/// Some positions of the output.
pub(super) struct Region {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// Counted positions from one to that below.
    pub(super) pitch: usize,
    /// Positions that windows see.
    pub(super) seen: usize,
}

/// Neighbouring outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// The first, as it is counted.
    pub(super) start: usize,
    /// How many there are.
    pub(super) outputs: usize,
    pub(super) short: bool,
}

impl Regions {
    /// `chunks` and `blocks` of filters are those of the layer. It is cut so that the thread that has most to do has little,
    /// and among equals into few pieces.
    pub(super) fn new<S: Shape>(output: &Map, chunks: &[Chunk], blocks: usize, threads: usize) -> Self {
        let fewest = (blocks * S::COLUMNS * LANES).div_ceil(FILTERS);
        let choices = (fewest..fewest + threads).flat_map(|parts| {
            let coarse = Self::cut::<S>(output, chunks, blocks, parts);
            let bands = coarse.bands..=(coarse.bands + threads - 1).min(coarse.height).max(coarse.bands);
            bands.map(move |bands| Self { bands, ..coarse })
        });
        let most_to_do = |regions: &Self| {
            let items = regions.count() * regions.parts;
            let lookups = regions.blocks * S::COLUMNS * S::KERNEL * S::KERNEL;
            let items_of_thread = items.div_ceil(threads);
            let rows = (regions.height * items_of_thread).div_ceil(regions.bands);
            let of_column = rows * (lookups + BUILD) + items_of_thread * (S::KERNEL - 1) * BUILD;
            (of_column * regions.width.div_ceil(regions.strips), items)
        };
        choices.min_by_key(most_to_do).expect("there are choices")
    }

    /// As few pieces as fit what a thread has at hand, with so many parts of the filters.
    fn cut<S: Shape>(output: &Map, chunks: &[Chunk], blocks: usize, parts: usize) -> Self {
        let (width, height) = (output.shape.width, output.shape.height);
        let (blocks, all) = (blocks.div_ceil(parts), blocks);
        let parts = all.div_ceil(blocks);

        let (halo, run) = (S::KERNEL - 1, S::TILE + S::KERNEL - 1);
        // A tile sees three rows, and the first places of the ring are there twice, for runs that pass its end.
        let window = |columns: usize| 2 * (columns + halo) + run;
        let widest = match S::KERNEL {
            1 => width,
            _ => (TABLES / TABLE / chunks[chunks.len() - 1].groups.len() - 2 * run - 2 * SPREAD) / 2 - halo,
        };
        let most = match chunks {
            [_] => usize::MAX, // a tile's sums are done when its spans are
            _ => SUMS / (blocks * S::COLUMNS),
        };
        // Short tiles have no more than twice the room that they need.
        let strips = width.div_ceil(widest.min(most / 2 - S::TILE));
        let columns = width.div_ceil(strips);
        let room = |(long, short): (usize, usize)| (long + short) * S::TILE;
        let rows = (most / room(row::<S>(columns)).max(room(row::<S>(width / strips)))).clamp(1, ROWS);
        let bands = height.div_ceil(rows);
        let (ring, places) = match S::KERNEL {
            1 => (S::TILE, S::TILE),
            _ => (window(columns).max(RING), window(columns).max(RING) + run - 1),
        };
        let lines = places * TABLE / LINE;
        let stride = LINE * (lines.next_multiple_of(2 * SPREAD) + SPREAD);
        Self { width, height, bands, strips, blocks, parts, ring, stride }
    }

    pub(super) fn count(&self) -> usize {
        self.bands * self.strips
    }

    pub(super) fn get<S: Shape>(&self, region: usize) -> Region {
        let (band, strip) = (region / self.strips, region % self.strips);
        let cut = |at: usize, pieces: usize, whole: usize| whole * at / pieces..whole * (at + 1) / pieces;
        let (rows, columns) = (cut(band, self.bands, self.height), cut(strip, self.strips, self.width));
        let halo = S::KERNEL - 1;
        // Over the whole width, the border right of a row is that left of the next.
        let shared = halo / 2 * usize::from(self.strips == 1);
        let pitch = columns.len() + halo - shared;
        let seen = (rows.len() - 1 + halo) * pitch + columns.len() + halo;
        Region { rows, columns, pitch, seen }
    }
}

impl Region {
    /// All outputs; after each other those that see the same positions.
    pub(super) fn tiles<S: Shape>(&self) -> impl Iterator<Item = Tile> {
        let (rows, outputs) = match S::KERNEL {
            1 => (1, self.rows.len() * self.columns.len()),
            _ => (self.rows.len(), self.columns.len()),
        };
        let (long, short) = row::<S>(outputs);
        let in_row = (0..long).map(|tile| (tile * S::TILE, S::TILE, false));
        let in_row = in_row.chain((0..short).map(move |tile| (long * S::TILE + tile * S::SHORT, S::SHORT, true)));
        let pitch = self.pitch;
        (0..rows).flat_map(move |row| {
            let tile = move |(at, len, short): (usize, usize, bool)| {
                let start = row * pitch + at;
                Tile { start, outputs: len.min(outputs - at), short }
            };
            in_row.clone().map(tile)
        })
    }
}

/// Cuts something into as few pieces of nearly the same size as have no more than `most`.
fn even(whole: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let pieces = whole.div_ceil(most);
    (0..pieces).map(move |piece| whole * piece / pieces..whole * (piece + 1) / pieces)
}

/// Long and short tiles that waste the least on a row.
fn row<S: Shape>(outputs: usize) -> (usize, usize) {
    // More short tiles hold a whole number of long ones.
    let cuts = (0..S::TILE).map(|short| (outputs.saturating_sub(short * S::SHORT).div_ceil(S::TILE), short));
    cuts.min_by_key(|(long, short)| long * S::TILE + short * S::SHORT).unwrap_or_default()
}

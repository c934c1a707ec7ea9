//! How a layer is cut: its positions into regions, rows and tiles, its inputs into chunks, its filters into parts.
//!
//! A region is some rows of a strip of columns. The tables of one of its rows, for the groups of one chunk, fit the
//! first-level cache, where they are built and looked up for all outputs that see the row. Windows of one position see
//! nothing but their own, so that their layers are taken as maps that are one tile wide.

use super::{
    super::pack::LANES,
    build::{MOST_GROUPS, TABLE},
    lookup::Shape,
};
use crate::engine::layout::Map;
use std::{iter, ops::Range};

/// Bytes of tables that a thread has at hand, at most: three quarters of a first-level cache.
pub(super) const TABLES: usize = 24 << 10;
/// Sums of a position and 32 filters that a thread has at hand, at most: those of 13×13 positions and 1024 filters, a third
/// of a second-level cache.
pub(super) const SUMS: usize = 5408;
/// Filters of a part, at most.
const FILTERS: usize = 1024;
/// What building a table takes, in lookups; about.
const BUILD: usize = 6;
/// What a span takes besides its lookups: fetching the sums of a tile, and writing them back.
const SPAN: usize = 40;

/// The regions of a layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Regions {
    width: usize,
    pub(super) height: usize,
    /// Outputs, row after row; the last row may have fewer than others.
    outputs: usize,
    /// Regions one below the other.
    bands: usize,
    /// Regions side by side.
    strips: usize,
    /// Blocks of filters of every part but the last.
    pub(super) blocks: usize,
    pub(super) parts: usize,
    /// Chunks of the groups of channels.
    chunks: usize,
    /// Bytes from the tables of a group to those of the next.
    pub(super) stride: usize,
    /// Of so many rows the sums are at hand.
    pub(super) kept: usize,
}

/// Some positions of the output.
pub(super) struct Region {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// Neighbouring outputs of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// The first, from the region's first on.
    pub(super) start: usize,
    /// How many there are room for.
    pub(super) positions: usize,
    pub(super) short: bool,
}

impl Regions {
    /// `blocks` of filters and `groups` of channels are those of the layer. It is cut so that the thread that has most to do
    /// has little, and among equals into few pieces.
    pub(super) fn new<S: Shape>(output: &Map, groups: usize, blocks: usize, threads: usize) -> Self {
        let outputs = output.shape.positions();
        let (width, height) = match S::KERNEL {
            1 => (S::TILE, outputs.div_ceil(S::TILE)),
            _ => (output.shape.width, output.shape.height),
        };
        let fewest = (blocks * S::COLUMNS * LANES).div_ceil(FILTERS);
        let cuts = (fewest..fewest + threads)
            .flat_map(|parts| (1..=width.div_ceil(S::SHORT)).map(move |strips| (parts, strips)))
            .filter_map(|cut| Self::cut::<S>((width, height, outputs), groups, blocks, cut))
            .flat_map(|cut| (0..threads).map(move |more| Self { bands: (cut.bands + more).min(height), ..cut }));
        let most_to_do = |cut: &Self| (cut.item::<S>(groups) * cut.items().div_ceil(threads), cut.items());
        cuts.min_by_key(most_to_do).expect("strips of a short tile fit")
    }

    /// As few bands and chunks as fit what a thread has at hand, with so many parts, or less, and strips.
    fn cut<S: Shape>(
        (width, height, outputs): (usize, usize, usize),
        groups: usize,
        blocks: usize,
        (parts, strips): (usize, usize),
    ) -> Option<Self> {
        let (blocks, parts) = (blocks.div_ceil(parts), blocks.div_ceil(blocks.div_ceil(parts)));
        let (_, room) = extent(tiles::<S>(width.div_ceil(strips)));
        let stride = (room + S::KERNEL - 1) * TABLE;
        let rows = SUMS / (room * S::COLUMNS * blocks);
        let most_groups = (TABLES / stride).min(MOST_GROUPS);
        // The sums of a row are done when all that its windows see has been looked up; with one chunk, that is soon.
        let (kept, bands) = if groups <= most_groups { (S::KERNEL, 1) } else { (rows, height.div_ceil(rows.max(1))) };
        let fits = most_groups > 0 && (1..=rows).contains(&kept);
        fits.then(|| Self {
            width,
            height,
            outputs,
            bands,
            strips,
            blocks,
            parts,
            chunks: groups.div_ceil(most_groups),
            stride,
            kept,
        })
    }

    /// What the largest item takes, in lookups; about.
    fn item<S: Shape>(&self, groups: usize) -> usize {
        let (columns, rows) = (self.width.div_ceil(self.strips), self.height.div_ceil(self.bands));
        let (tiles, room) = extent(tiles::<S>(columns));
        let lookups = S::KERNEL * S::KERNEL * room * S::COLUMNS * self.blocks * groups;
        let spans = S::KERNEL * tiles * self.blocks * self.chunks * SPAN;
        let tables = |rows: usize| rows * (columns + S::KERNEL - 1) * groups * BUILD;
        rows * (lookups + spans) + tables(rows + S::KERNEL - 1)
    }

    /// Regions times parts.
    pub(super) fn items(&self) -> usize {
        self.bands * self.strips * self.parts
    }

    /// The groups of each chunk.
    pub(super) fn chunks(&self, groups: usize) -> Vec<Range<usize>> {
        (0..self.chunks).map(|chunk| piece(chunk, self.chunks, groups)).collect()
    }

    pub(super) fn region(&self, region: usize) -> Region {
        let (band, strip) = (region / self.strips, region % self.strips);
        Region { rows: piece(band, self.bands, self.height), columns: piece(strip, self.strips, self.width) }
    }

    /// The columns of a region that a row has.
    pub(super) fn columns(&self, row: usize, region: &Region) -> Range<usize> {
        region.columns.start..region.columns.end.min(self.outputs - row * self.width)
    }
}

/// One of some pieces of nearly the same size.
fn piece(at: usize, pieces: usize, whole: usize) -> Range<usize> {
    whole * at / pieces..whole * (at + 1) / pieces
}

/// The tiles of a row of so many outputs: long and short ones, such that they waste the least.
pub(super) fn tiles<S: Shape>(outputs: usize) -> impl Iterator<Item = Tile> + Clone {
    // More short tiles hold a whole number of long ones.
    let cuts = (0..S::TILE).map(|short| (outputs.saturating_sub(short * S::SHORT).div_ceil(S::TILE), short));
    let (long, short) = cuts.min_by_key(|(long, short)| long * S::TILE + short * S::SHORT).unwrap_or_default();
    let all = iter::repeat_n((S::TILE, false), long).chain(iter::repeat_n((S::SHORT, true), short));
    all.scan(0, |end, (positions, short)| {
        let start = *end;
        *end += positions;
        Some(Tile { start, positions, short })
    })
}

/// How many tiles there are, and how many positions they have room for.
pub(super) fn extent(tiles: impl Iterator<Item = Tile>) -> (usize, usize) {
    tiles.fold((0, 0), |(tiles, room), tile| (tiles + 1, room + tile.positions))
}

//! How the positions of a layer are cut: into tiles, tiles into strips, strips into items.
//!
//! A tile is up to 16 neighbours in a row. A strip is the same tiles of two rows, one below the other, so that a 2×2 pool
//! finds all that it needs in one strip. An item is some strips, to be computed with one expansion of the weights.

use super::convolution::{ITEM, STRIP};
use std::ops::Range;

/// Positions in a tile, at most.
pub(super) const ROWS: usize = 16;

/// Positions of the sums, before pooling.
pub(super) struct Grid {
    width: usize,
    height: usize,
    /// Positions of every tile; the last of a row of tiles ends with the row and may repeat positions of the one before.
    pub(super) tile: usize,
    /// Tiles in a row.
    tiles: usize,
    /// Of these, in a strip.
    strip_tiles: usize,
    /// Sums for each position and filter.
    pub(super) parts: usize,
    /// Strips that two rows are cut into.
    row_strips: usize,
    /// Strips of the map.
    strips: usize,
    /// Strips of an item.
    item_strips: usize,
}

/// Two rows of some tiles, or one row where the map ends.
pub(super) struct Strip {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    tiles: Range<usize>,
    /// Positions of a tile.
    tile: usize,
    /// The first column that only the last tile of a row has.
    tail: usize,
    /// Columns that this tile repeats.
    repeated: usize,
}

impl Strip {
    /// The first column of the first tile.
    pub(super) fn origin(&self) -> usize {
        self.start(self.tiles.start)
    }

    /// The first column of each tile.
    pub(super) fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        self.tiles.clone().map(|tile| self.start(tile))
    }

    fn start(&self, tile: usize) -> usize {
        let start = tile * self.tile;
        if start == self.tail { start - self.repeated } else { start }
    }

    /// Where the sums of a column stand among those of a row: tile after tile, each with all its columns.
    #[inline]
    pub(super) fn place(&self, column: usize) -> usize {
        column - self.columns.start + if column >= self.tail { self.repeated } else { 0 }
    }
}

impl Grid {
    /// `parts` is the number of sums for each position and filter. `kept` is how many sums an item has room for if all its
    /// strips keep theirs at the same time; otherwise one strip does.
    pub(super) fn new((width, height): (usize, usize), parts: usize, pool: bool, kept: Option<usize>) -> Self {
        let mut tile = width.div_ceil(width.div_ceil(ROWS));
        let most = STRIP / (2 * parts);
        // A pool's columns come in pairs, which strips must not part.
        if pool && width > most {
            tile = tile.next_multiple_of(2);
        }
        let tiles = width.div_ceil(tile);
        let strip_tiles = evenly(tiles, most / tile);
        let row_strips = tiles.div_ceil(strip_tiles);
        let strips = row_strips * height.div_ceil(2);
        let strip_sums = parts * 2 * strip_tiles * tile;
        let item_strips = evenly(strips, kept.unwrap_or(ITEM) / strip_sums);
        Self { width, height, tile, tiles, strip_tiles, parts, row_strips, strips, item_strips }
    }

    /// Items of a block of filters.
    pub(super) fn items(&self) -> usize {
        self.strips.div_ceil(self.item_strips)
    }

    /// Strips of an item.
    pub(super) fn item(&self, item: usize) -> impl ExactSizeIterator<Item = Strip> + '_ {
        let first = item * self.item_strips;
        (first..(first + self.item_strips).min(self.strips)).map(|index| self.strip(index))
    }

    /// Columns of sums that a strip needs.
    pub(super) fn strip_columns(&self) -> usize {
        self.strip_tiles * self.tile
    }

    /// Sums of one part of a strip.
    pub(super) fn part_sums(&self) -> usize {
        2 * self.strip_columns()
    }

    /// Sums of a strip, part after part.
    pub(super) fn strip_sums(&self) -> usize {
        self.parts * self.part_sums()
    }

    fn strip(&self, index: usize) -> Strip {
        let (pair, part) = (index / self.row_strips, index % self.row_strips);
        let tiles = part * self.strip_tiles..((part + 1) * self.strip_tiles).min(self.tiles);
        Strip {
            rows: 2 * pair..(2 * pair + 2).min(self.height),
            columns: tiles.start * self.tile..(tiles.end * self.tile).min(self.width),
            tiles,
            tile: self.tile,
            tail: (self.tiles - 1) * self.tile,
            repeated: self.tiles * self.tile - self.width,
        }
    }
}

/// The largest part when `count` things are divided as evenly as can be into parts of at most `most`.
fn evenly(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_position_is_written_once_and_summed(
            width in 1usize..300, height in 1usize..20, parts in 1usize..4, pool: bool,
            kept in proptest::option::of(STRIP..1024)
        ) {
            let even = |side: usize| if pool { side.next_multiple_of(2) } else { side };
            let (width, height) = (even(width), even(height));
            let grid = Grid::new((width, height), parts, pool, kept);
            let mut written = vec![0; width * height];
            for item in 0..grid.items() {
                let strips: Vec<_> = grid.item(item).collect();
                prop_assert!(grid.strip_sums() <= STRIP);
                    prop_assert!(kept.is_none_or(|kept| grid.strip_sums() * strips.len() <= kept));
                for strip in strips {
                    prop_assert!(!pool || strip.rows.len() == 2);
                    prop_assert!(!pool || strip.columns.start % 2 == 0 && strip.columns.len() % 2 == 0);
                    // The columns whose sums stand in each place.
                    let places: Vec<_> = strip.starts().flat_map(|start| start..start + grid.tile).collect();
                    prop_assert!(places.len() <= grid.strip_columns() && places.iter().all(|&column| column < width));
                    for x in strip.columns.clone() {
                        strip.rows.clone().for_each(|y| written[y * width + x] += 1);
                        prop_assert_eq!(places[strip.place(x)], x);
                    }
                }
            }
            prop_assert!(written.iter().all(|&count| count == 1));
        }
    }
}

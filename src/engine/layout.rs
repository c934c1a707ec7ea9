//! What a feature map is in memory. Nobody else computes an offset.
//!
//! A buffer holds one feature map, or several joined on the channel axis: a concatenation costs nothing, its inputs are
//! written into their channels of the joined map. Around the map lies a border of zeros (in int8 mode: of the byte that
//! stands for 0), so that no kernel branches at the edge. The border right of a row is the border left of the next one,
//! so positions run through the whole buffer with one stride.

use super::memory::Memory;
use crate::network::Shape;
use std::iter;

/// In which order a kernel wants the values of a feature map. A plan uses one layout throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[y][x][channel]`: all channels of a position stand together.
    Interleaved,
    /// `[channel][y][x]`: all positions of a channel stand together. After each plane a whole [`Memory::ALIGNMENT`] may be
    /// read past its end.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel is interleaved")
    )]
    Planar,
}

/// What one value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A byte; `zero_point` stands for 0.
    Byte {
        /// What fills the border.
        zero_point: u8,
    },
    /// A 32-bit float.
    Float,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::Byte { .. } => 1,
            Self::Float => 4,
        }
    }
}

/// A feature map: where each of its values stands. Offsets count values from the start of the plan's memory.
#[derive(Clone, Debug)]
pub(super) struct Map {
    /// Its channels only, where it shares a buffer with others.
    pub(super) shape: Shape,
    pub(super) element: Element,
    pub(super) layout: Layout,
    /// Width of the border: 0 or 1.
    pub(super) border: usize,
    /// From a position to its right neighbour.
    pub(super) pixel_stride: usize,
    /// From a position to the one below.
    pub(super) row_stride: usize,
    /// From a channel to the next.
    pub(super) channel_stride: usize,
    /// Channel 0 at (0, 0).
    origin: usize,
}

impl Map {
    /// Offset of a value. `y` and `x` may lie in the border.
    #[inline]
    pub(super) fn at(&self, channel: usize, y: isize, x: isize) -> usize {
        let position = y * self.row_stride as isize + x * self.pixel_stride as isize;
        (self.origin + channel * self.channel_stride).wrapping_add_signed(position)
    }

    /// Some of its channels, as a map of their own.
    pub(super) fn channels(&self, first: usize, count: usize) -> Self {
        debug_assert!(first + count <= self.shape.channels);
        let shape = Shape { channels: count, ..self.shape };
        Self { shape, origin: self.origin + first * self.channel_stride, ..self.clone() }
    }

    /// The same map with another byte for 0.
    pub(super) fn with_element(self, element: Element) -> Self {
        debug_assert_eq!(self.element.bytes(), element.bytes());
        Self { element, ..self }
    }

    /// Calls `each` with offset and length of each run of neighbouring values of the border.
    pub(super) fn for_each_border_run(&self, mut each: impl FnMut(usize, usize)) {
        let channels = self.shape.channels;
        match self.layout {
            Layout::Interleaved => self.border_positions().for_each(|(y, x)| each(self.at(0, y, x), channels)),
            Layout::Planar => {
                (0..channels).flat_map(|channel| self.border_of_plane(channel)).for_each(|(start, len)| each(start, len))
            }
        }
    }

    /// The border of one channel: all before its first value, the places between its rows, all after its last value.
    fn border_of_plane(&self, channel: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (height, width) = (self.shape.height as isize, self.shape.width as isize);
        let between = (0..height - 1).map(move |y| (self.at(channel, y, width), 1));
        let ends = [self.at(channel, -1, -1), self.at(channel, height - 1, width)];
        let ends = ends.map(|start| (start, self.row_stride + 1));
        let all = iter::once(ends[0]).chain(between).chain(iter::once(ends[1]));
        all.filter(|_| self.border > 0)
    }

    /// Positions `(y, x)` of the border, each once.
    fn border_positions(&self) -> impl Iterator<Item = (isize, isize)> + use<> {
        let (height, width) = (self.shape.height as isize, self.shape.width as isize);
        let rows = if self.border > 0 { -1..height + 1 } else { 0..0 };
        rows.flat_map(move |y| {
            let outside = y == -1 || y == height;
            // Right of a row is left of the next; only the last row has no next.
            let end = if y == height {
                width + 1
            } else if outside {
                width
            } else {
                0
            };
            (-1..end).map(move |x| (y, x))
        })
    }
}

/// A piece of the plan's memory, before it has a place there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    pub(super) shape: Shape,
    pub(super) element: Element,
    pub(super) layout: Layout,
    pub(super) border: usize,
}

impl Buffer {
    fn row_positions(&self) -> usize {
        self.shape.width + self.border
    }

    fn positions(&self) -> usize {
        (self.shape.height + 2 * self.border) * self.row_positions() + self.border
    }

    /// Values of a position, all channels together, and what follows them: one cache line where positions would otherwise
    /// stand a whole number of 256 bytes apart and compete for few places in a cache.
    fn pixel(&self) -> usize {
        let bytes = self.shape.channels * self.element.bytes();
        let unused = if bytes.is_multiple_of(256) { Memory::ALIGNMENT } else { 0 };
        (bytes + unused) / self.element.bytes()
    }

    /// Values of a plane and what follows it. An odd number of cache lines, so that neighbouring planes do not compete for
    /// the same places in a cache.
    fn plane(&self) -> usize {
        let lines = (self.positions() * self.element.bytes()).div_ceil(Memory::ALIGNMENT) + 1;
        (lines | 1) * Memory::ALIGNMENT / self.element.bytes()
    }

    /// Its size.
    pub(super) fn bytes(&self) -> usize {
        let values = match self.layout {
            Layout::Interleaved => self.positions() * self.pixel(),
            Layout::Planar => self.plane() * self.shape.channels,
        };
        values * self.element.bytes()
    }

    /// The feature map that fills it, once it stands at `offset` bytes from the start of the plan's memory.
    pub(super) fn map(&self, offset: usize) -> Map {
        debug_assert!(offset.is_multiple_of(self.element.bytes()));
        let (pixel_stride, channel_stride) = match self.layout {
            Layout::Interleaved => (self.pixel(), 1),
            Layout::Planar => (1, self.plane()),
        };
        let row_stride = self.row_positions() * pixel_stride;
        Map {
            shape: self.shape,
            element: self.element,
            layout: self.layout,
            border: self.border,
            pixel_stride,
            row_stride,
            channel_stride,
            origin: offset / self.element.bytes() + self.border * (row_stride + pixel_stride),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn buffer(layout: Layout, channels: usize, height: usize, width: usize, border: usize) -> Buffer {
        let shape = Shape { channels, height, width };
        Buffer { shape, element: Element::Float, layout, border }
    }

    #[test]
    fn a_small_map_stands_where_it_should() {
        // Two rows of three pixels with one border column: pitch 4.
        let buffer = buffer(Layout::Interleaved, 2, 2, 3, 1);
        let map = buffer.map(64);
        assert_eq!(map.at(0, -1, -1), 16);
        assert_eq!(map.at(0, 0, 0), 16 + (4 + 1) * 2);
        assert_eq!(map.at(1, 1, 2), 16 + (4 + 1 + 4 + 2) * 2 + 1);
        assert_eq!(map.at(0, 0, 3), map.at(0, 1, -1));
        assert_eq!(buffer.bytes(), (4 * 4 + 1) * 2 * 4);
        assert_eq!(map.channels(1, 1).at(0, 1, 2), map.at(1, 1, 2));
    }

    #[test]
    fn a_small_planar_map_stands_where_it_should() {
        // 17 positions are 68 bytes: two lines of 16 floats, and one that may be read.
        let buffer = buffer(Layout::Planar, 2, 2, 3, 1);
        let map = buffer.map(64);
        assert_eq!(map.at(0, -1, -1), 16);
        assert_eq!(map.at(1, 1, 2), 16 + 48 + 4 + 1 + 4 + 2);
        assert_eq!(map.at(0, 0, 3), map.at(0, 1, -1));
        assert_eq!(buffer.bytes(), 2 * 3 * 64);
        assert_eq!(map.channels(1, 1).at(0, 1, 2), map.at(1, 1, 2));
    }

    #[test]
    fn positions_do_not_compete_for_the_same_places_in_a_cache() {
        let stride = |channels: usize| buffer(Layout::Interleaved, channels, 2, 2, 1).map(0).pixel_stride;
        assert_eq!([32, 64, 100, 128].map(stride), [32, 64 + 16, 100, 128 + 16]);
        let buffer = buffer(Layout::Interleaved, 128, 2, 2, 1);
        assert_eq!(buffer.bytes(), (4 * 3 + 1) * (128 + 16) * 4);
        assert_eq!(buffer.map(0).channels(64, 64).at(0, 0, 0), (3 + 1) * (128 + 16) + 64);
    }

    proptest! {
        #[test]
        fn values_and_border_fill_the_buffer_once(
            planar: bool, channels in 1usize..5, height in 1usize..6, width in 1usize..6, border in 0usize..2,
        ) {
            let layout = if planar { Layout::Planar } else { Layout::Interleaved };
            let buffer = buffer(layout, channels, height, width, border);
            let map = buffer.map(0);
            let mut seen = HashSet::new();
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y as isize, x as isize))) {
                for channel in 0..channels {
                    prop_assert!(seen.insert(map.at(channel, y, x)), "({y}, {x}) stands where another value does");
                }
            }
            let mut around = Vec::new();
            map.for_each_border_run(|start, len| around.extend(start..start + len));
            for offset in around {
                prop_assert!(seen.insert(offset), "{offset} is in the border twice, or not in the border");
            }
            prop_assert_eq!(seen.len(), channels * ((height + 2 * border) * (width + border) + border));
            let past = if planar { Memory::ALIGNMENT / 4 } else { 0 };
            prop_assert!(seen.iter().all(|offset| offset + past < buffer.bytes() / 4));
        }
    }
}

//! In which pieces a window is read.

use super::super::super::window::Window;
use crate::engine::layout::Map;
use std::ops::Range;

/// Bytes of a step: a row of a tile.
pub(super) const STEP: usize = 64;

/// 64 bytes of every window, some of which may be no inputs of it.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    /// From a window's first byte.
    pub(super) offset: usize,
    /// The inputs that come first in it, counted as [`Window`] does.
    pub(super) inputs: Range<usize>,
}

/// The steps of windows in a map. Those that read the same bytes for neighbouring positions follow one another.
pub(super) fn steps(window: Window, map: &Map) -> Vec<Step> {
    let Window { kernel, channels } = window;
    let offset = |tap: usize| map.at(0, (tap / kernel) as isize, (tap % kernel) as isize) - map.at(0, 0, 0);
    let row = kernel * channels;
    let joined = map.pixel_stride == channels && row.div_ceil(STEP) < kernel * channels.div_ceil(STEP);
    let mut steps = Vec::new();
    let mut push = |tap: usize, part: &Range<usize>| {
        let first = tap * channels;
        steps.push(Step { offset: offset(tap) + part.start, inputs: first + part.start..first + part.end });
    };
    if joined {
        // The taps of a row of the window are neighbours in memory.
        (0..kernel).for_each(|ky| parts(row).for_each(|part| push(ky * kernel, &part)));
    } else {
        parts(channels).for_each(|part| (0..kernel * kernel).for_each(|tap| push(tap, &part)));
    }
    steps
}

/// `count` things in parts of a step.
fn parts(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(STEP).map(move |start| start..(start + STEP).min(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::layout::{Buffer, Element, Layout},
        network::Shape,
    };

    fn map(channels: usize) -> Map {
        let shape = Shape { channels, height: 4, width: 5 };
        Buffer { shape, element: Element::Byte { zero_point: 0 }, layout: Layout::Interleaved, border: 1 }.map(0)
    }

    #[test]
    fn rows_of_a_window_are_read_as_one_where_that_takes_fewer_steps() {
        let step = |offset, inputs| Step { offset, inputs };
        // 96 neighbouring bytes in two steps instead of three taps of 32.
        let found = steps(Window { kernel: 3, channels: 32 }, &map(32));
        assert_eq!(found.len(), 6);
        assert_eq!(found[1..3], [step(64, 64..96), step(6 * 32, 96..160)]);
        // Part of a joined map: other channels stand between the taps.
        let found = steps(Window { kernel: 3, channels: 32 }, &map(40).channels(4, 32));
        assert_eq!(found.len(), 9);
        assert_eq!(found[1], step(40, 32..64));
        // Whole steps: all taps of the first 64 channels, then of the others.
        let found = steps(Window { kernel: 3, channels: 100 }, &map(110).channels(0, 100));
        assert_eq!(found.len(), 18);
        assert_eq!(found[3], step(6 * 110, 300..364));
        assert_eq!(found[10], step(110 + 64, 164..200));
    }
}

//! The inputs of a convolution's window on interleaved maps, counted as `[ky, kx, channel]`, and how they stand in memory.

use crate::engine::layout::Map;
use std::ops::Range;

/// Neighbouring values of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// From the window's first value.
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// Some of a window's inputs.
pub(super) struct Chunk {
    /// Where they stand. Neighbouring runs are one.
    pub(super) runs: Vec<Run>,
    pub(super) inputs: Range<usize>,
}

/// The inputs of a window.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// Side of the kernel.
    pub(super) kernel: usize,
    pub(super) channels: usize,
}

impl Window {
    /// Number of inputs.
    pub(super) fn inputs(self) -> usize {
        self.kernel * self.kernel * self.channels
    }

    /// Where a model keeps the weight of an input: `[channel, ky, kx]`.
    pub(super) fn in_model(self, input: usize) -> usize {
        let (tap, channel) = (input / self.channels, input % self.channels);
        channel * self.kernel * self.kernel + tap
    }

    /// Cuts the inputs of windows in a map into chunks of `size`; the last one has what is left.
    pub(super) fn chunks(self, map: &Map, size: usize) -> Vec<Chunk> {
        let corner = map.at(0, 0, 0);
        let offset = |input: usize| {
            let (tap, channel) = (input / self.channels, input % self.channels);
            map.at(channel, (tap / self.kernel) as isize, (tap % self.kernel) as isize) - corner
        };
        let chunk = |start: usize| {
            let inputs = start..(start + size).min(self.inputs());
            let mut runs: Vec<Run> = Vec::new();
            let mut input = start;
            while input < inputs.end {
                let len = (self.channels - input % self.channels).min(inputs.end - input);
                match runs.last_mut() {
                    Some(run) if run.offset + run.len == offset(input) => run.len += len,
                    _ => runs.push(Run { offset: offset(input), len }),
                }
                input += len;
            }
            Chunk { runs, inputs }
        };
        (0..self.inputs()).step_by(size).map(chunk).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::layout::{Buffer, Element, Layout},
        network::Shape,
    };

    #[test]
    fn neighbouring_runs_are_joined() {
        let shape = Shape { channels: 10, height: 4, width: 5 };
        let map = Buffer { shape, element: Element::Float, layout: Layout::Interleaved, border: 1 }.map(0);
        let window = Window { kernel: 3, channels: 10 };
        let chunks = window.chunks(&map, 64);
        // A row of the window is 30 neighbouring values; rows are 60 apart.
        assert_eq!(chunks[0].runs, [Run { offset: 0, len: 30 }, Run { offset: 60, len: 30 }, Run { offset: 120, len: 4 }]);
        assert_eq!(chunks[1].runs, [Run { offset: 124, len: 26 }]);
        assert_eq!((chunks[1].inputs.clone(), chunks.len()), (64..90, 2));
        // Channels 2..5 of the map have others between them.
        let part = Window { kernel: 3, channels: 3 }.chunks(&map.channels(2, 3), 4);
        assert_eq!(part[0].runs, [Run { offset: 0, len: 3 }, Run { offset: 10, len: 1 }]);
        assert_eq!(part[1].runs, [Run { offset: 11, len: 2 }, Run { offset: 20, len: 2 }]);
    }
}

//! Layers that only move values: pooling, space to depth, and the copies of a concatenation that cannot be had for
//! nothing. Input and output have the same scale, so bytes and floats go the same way.

use super::Work;
use crate::engine::{
    layout::{Element, Layout, Map},
    memory::{Memory, Value},
};
use std::marker::PhantomData;

/// Maximum over 2×2 windows, stride 2, on interleaved maps.
pub(super) fn max_pool(input: Map, output: Map) -> Box<dyn Work> {
    match input.element {
        Element::Byte { .. } => Box::new(Pool::<u8> { input, output, value: PhantomData }),
        Element::Float => Box::new(Pool::<f32> { input, output, value: PhantomData }),
    }
}

/// Blocks of positions to channels.
pub(in crate::engine) fn space_to_depth(input: Map, output: Map, block: usize) -> Box<dyn Work> {
    match input.element {
        Element::Byte { .. } => Box::new(Blocks::<u8> { input, output, block, value: PhantomData }),
        Element::Float => Box::new(Blocks::<f32> { input, output, block, value: PhantomData }),
    }
}

/// The same values elsewhere.
pub(in crate::engine) fn copy(input: Map, output: Map) -> Box<dyn Work> {
    space_to_depth(input, output, 1)
}

/// An item is one row of the output.
struct Pool<T> {
    input: Map,
    output: Map,
    value: PhantomData<T>,
}

impl<T: Value + PartialOrd> Work for Pool<T> {
    fn items(&self) -> usize {
        self.output.shape.height
    }

    fn run(&self, y: usize, memory: &Memory) {
        let channels = self.output.shape.channels;
        let input = memory.read::<T>(&self.input);
        let output = memory.write::<T>(&self.output);
        for x in 0..self.output.shape.width {
            let at = |dy: usize, dx: usize| self.input.at(0, (2 * y + dy) as isize, (2 * x + dx) as isize);
            let pixel = |dy, dx| input.run(at(dy, dx), channels);
            let (a, b, c, d) = (pixel(0, 0), pixel(0, 1), pixel(1, 0), pixel(1, 1));
            // SAFETY: only this item uses this row; a layer never reads where it writes.
            let largest = unsafe { output.run(self.output.at(0, y as isize, x as isize), channels) };
            for ((((largest, &a), &b), &c), &d) in largest.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *largest = max(max(a, b), max(c, d));
            }
        }
    }
}

fn max<T: PartialOrd>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// An item is one row of the output.
struct Blocks<T> {
    input: Map,
    output: Map,
    block: usize,
    value: PhantomData<T>,
}

impl<T: Value> Work for Blocks<T> {
    fn items(&self) -> usize {
        self.output.shape.height
    }

    fn run(&self, item: usize, memory: &Memory) {
        let channels = self.input.shape.channels;
        let input = memory.read::<T>(&self.input);
        let output = memory.write::<T>(&self.output);
        for tap in 0..self.block * self.block {
            let (y, dx) = (item * self.block + tap / self.block, tap % self.block);
            match self.output.layout {
                Layout::Interleaved => {
                    for x in 0..self.output.shape.width {
                        let from = self.input.at(0, y as isize, (x * self.block + dx) as isize);
                        let to = self.output.at(tap * channels, item as isize, x as isize);
                        // SAFETY: only this item uses this row; a layer never reads where it writes.
                        unsafe { output.run(to, channels) }.copy_from_slice(input.run(from, channels));
                    }
                }
                Layout::Planar => {
                    let width = self.output.shape.width;
                    for channel in 0..channels {
                        let from = input.run(self.input.at(channel, y as isize, 0), self.block * width);
                        let to = self.output.at(tap * channels + channel, item as isize, 0);
                        let from = from[dx..].iter().step_by(self.block);
                        // SAFETY: as above.
                        unsafe { output.run(to, width) }.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                    }
                }
            }
        }
    }
}

//! Layers that only move values: pooling, space to depth, and the copies of a concatenation that cannot be had for
//! nothing. Input and output have the same scale, so bytes and floats go the same way.

use super::Work;
use crate::engine::{
    layout::{Element, Layout, Map},
    memory::{Memory, Value},
};
use std::marker::PhantomData;

/// Maximum over 2×2 windows, stride 2.
pub(in crate::engine) fn max_pool(input: Map, output: Map) -> Box<dyn Work> {
    make(input, output, Operation::MaxPool)
}

/// Blocks of positions to channels.
pub(in crate::engine) fn space_to_depth(input: Map, output: Map, block: usize) -> Box<dyn Work> {
    make(input, output, Operation::SpaceToDepth { block })
}

/// The same values elsewhere.
pub(in crate::engine) fn copy(input: Map, output: Map) -> Box<dyn Work> {
    make(input, output, Operation::SpaceToDepth { block: 1 })
}

fn make(input: Map, output: Map, operation: Operation) -> Box<dyn Work> {
    match input.element {
        Element::Byte { .. } => Box::new(Move::<u8> { input, output, operation, value: PhantomData }),
        Element::Float => Box::new(Move::<f32> { input, output, operation, value: PhantomData }),
    }
}

#[derive(Clone, Copy)]
enum Operation {
    MaxPool,
    SpaceToDepth { block: usize },
}

/// An item is one row of the output.
struct Move<T> {
    input: Map,
    output: Map,
    operation: Operation,
    value: PhantomData<T>,
}

impl<T: Value + PartialOrd> Work for Move<T> {
    fn items(&self) -> usize {
        self.output.shape.height
    }

    fn run(&self, item: usize, memory: &Memory) {
        match (self.operation, self.output.layout) {
            (Operation::MaxPool, Layout::Interleaved) => self.pool_interleaved(item, memory),
            (Operation::SpaceToDepth { block }, Layout::Interleaved) => self.blocks_interleaved(item, block, memory),
            (Operation::MaxPool, Layout::Planar) => self.pool_planar(item, memory),
            (Operation::SpaceToDepth { block }, Layout::Planar) => self.blocks_planar(item, block, memory),
        }
    }
}

impl<T: Value + PartialOrd> Move<T> {
    fn pool_interleaved(&self, y: usize, memory: &Memory) {
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

    fn blocks_interleaved(&self, y: usize, block: usize, memory: &Memory) {
        let channels = self.input.shape.channels;
        let input = memory.read::<T>(&self.input);
        let output = memory.write::<T>(&self.output);
        for x in 0..self.output.shape.width {
            for tap in 0..block * block {
                let (dy, dx) = (tap / block, tap % block);
                let from = self.input.at(0, (y * block + dy) as isize, (x * block + dx) as isize);
                let to = self.output.at(tap * channels, y as isize, x as isize);
                // SAFETY: only this item uses this row; a layer never reads where it writes.
                unsafe { output.run(to, channels) }.copy_from_slice(input.run(from, channels));
            }
        }
    }

    fn pool_planar(&self, y: usize, memory: &Memory) {
        let width = self.output.shape.width;
        let input = memory.read::<T>(&self.input);
        let output = memory.write::<T>(&self.output);
        for channel in 0..self.output.shape.channels {
            let pairs = |dy: usize| input.run(self.input.at(channel, (2 * y + dy) as isize, 0), 2 * width).as_chunks::<2>().0;
            // SAFETY: only this item uses this row; a layer never reads where it writes.
            let largest = unsafe { output.run(self.output.at(channel, y as isize, 0), width) };
            for ((largest, &[a, b]), &[c, d]) in largest.iter_mut().zip(pairs(0)).zip(pairs(1)) {
                *largest = max(max(a, b), max(c, d));
            }
        }
    }

    fn blocks_planar(&self, y: usize, block: usize, memory: &Memory) {
        let (channels, width) = (self.input.shape.channels, self.output.shape.width);
        let input = memory.read::<T>(&self.input);
        let output = memory.write::<T>(&self.output);
        for tap in 0..block * block {
            let (dy, dx) = (tap / block, tap % block);
            for channel in 0..channels {
                let from = input.run(self.input.at(channel, (y * block + dy) as isize, 0), block * width);
                // SAFETY: only this item uses this row; a layer never reads where it writes.
                let to = unsafe { output.run(self.output.at(tap * channels + channel, y as isize, 0), width) };
                to.iter_mut().zip(from[dx..].iter().step_by(block)).for_each(|(to, &from)| *to = from);
            }
        }
    }
}

fn max<T: PartialOrd>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

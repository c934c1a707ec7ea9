//! A binary convolution: which lines, which tables, which filters, in which order.
//!
//! An item is a few neighbouring lines and some filters, so many that their sums stay in a second-level cache. Chunk after
//! chunk, for each line the tables are built and each filter adds its entries.

use super::{
    Follow, Lookup, MAX_CHANNELS, Step, Stored, finish,
    index::{Chunk, ENTRIES, Grouping, TABLES},
    lines::{Lines, Run, part},
    rest::Rest,
};
use crate::engine::{
    arithmetic::Weights,
    kernels::{Convolution, Work},
    layout::Map,
    memory::{Memory, Reader},
};
use std::{array, marker::PhantomData, mem::MaybeUninit, ops::Range, slice};

/// Filters of an item, at most.
const FILTERS: usize = 1024;
/// Lines of an item times its filters, at most.
const SUMS: usize = 2048;
/// Lines of an item, at most.
const LINES: usize = 32;
/// What building the tables of a line takes, in filters whose entries could be added meanwhile; about.
const BUILD: usize = 32;
/// Values of a line, at most.
const LANES: usize = 32;

/// A binary convolution.
pub(super) struct Binary<L, O> {
    input: Map,
    output: Map,
    kernel: usize,
    /// Channels of a group.
    width: usize,
    spans: Vec<Vec<Piece>>,
    /// Offsets of all filters in all chunks.
    offsets: Vec<u32>,
    follow: Vec<Follow>,
    lines: Lines,
    rest: Option<Rest>,
    /// Into how many blocks the filters are cut.
    blocks: usize,
    threads: usize,
    lookup: PhantomData<(L, O)>,
}

/// A chunk and its offsets.
struct Piece {
    chunk: Chunk,
    /// Where those of filter 0 start.
    first: usize,
    /// Of a filter.
    pairs: usize,
}

/// What an item needs besides the maps, on the stack of its thread.
struct Scratch<L: Lookup, O> {
    tables: [L::Line; ENTRIES],
    partial: [L::Line; FILTERS],
    sums: [L::Sums; SUMS],
    results: [O; LINES * LANES],
}

impl<L: Lookup, O: Stored> Binary<L, O> {
    pub(super) fn new(convolution: Convolution<'_>) -> Self {
        let Convolution { kernel, stride, weights, epilogue, input, output, threads, .. } = convolution;
        let Weights::Bits(weights) = weights else { unreachable!("tables are for bits") };
        const { assert!(L::TABLES <= TABLES, "the tables of a chunk fit the scratch") };
        let grouping = Grouping { kernel, channels: input.shape.channels, tables: L::TABLES };
        let filters = output.shape.channels;
        let follow = |filter: usize| Follow {
            offset: L::OFFSET * weights.sign_sum(filter),
            ..Follow::new(&epilogue, filter, output.element)
        };
        let rest = L::APART.map_or(0, |apart| apart.positions);
        let lines = Lines::new(&input, output.shape, stride, L::LANES - (kernel - 1), rest);
        let (runs, blocks) = cut(lines.count(), filters, threads);
        let lines = lines.in_runs(runs);
        Self {
            width: grouping.width(),
            spans: spans(grouping, filters, L::SPAN),
            offsets: grouping.offsets(weights),
            follow: (0..filters).map(follow).collect(),
            rest: Rest::new(L::APART, lines.rest().to_vec(), weights, (&input, kernel)),
            lines,
            input,
            output,
            kernel,
            blocks,
            threads,
            lookup: PhantomData,
        }
    }

    /// Sums of some filters over some lines, `[line][filter]`.
    fn sum(
        &self,
        lines: &Range<usize>,
        filters: &Range<usize>,
        input: &Reader<'_, L::Input>,
        scratch: &mut MaybeUninit<Scratch<L, O>>,
    ) {
        let scratch = scratch.as_mut_ptr();
        // SAFETY: in bounds of the scratch; all bits 0 are zeros, whatever the kind of sums.
        let (tables, partial, sums) = unsafe {
            let sums = (&raw mut (*scratch).sums).cast::<L::Sums>();
            let count = lines.len() * filters.len();
            sums.write_bytes(0, count);
            let sums = slice::from_raw_parts_mut(sums, count);
            ((&raw mut (*scratch).tables).cast::<L::Line>(), (&raw mut (*scratch).partial).cast::<L::Line>(), sums)
        };
        for span in &self.spans {
            for (line, sums) in lines.clone().zip(sums.chunks_exact_mut(filters.len())) {
                for (index, Piece { chunk, first, pairs }) in span.iter().enumerate() {
                    self.build(chunk, line, input, tables);
                    let offsets = &self.offsets[first + filters.start * pairs..first + filters.end * pairs];
                    let (starts, ends) = (index == 0, index + 1 == span.len());
                    let step = Step { kernel: self.kernel, groups: chunk.groups, starts, ends };
                    // SAFETY: a kernel is only used where its instructions are; the tables of the chunk were built, and
                    // there are as many partial sums as filters.
                    unsafe { L::add(step, tables, offsets, partial, sums) };
                }
            }
        }
    }

    /// The tables of a chunk, `[group][ky]`.
    fn build(&self, chunk: &Chunk, line: usize, input: &Reader<'_, L::Input>, tables: *mut L::Line) {
        let corner = self.lines.corner(line);
        let pad = (self.kernel / 2) as isize;
        let nothing = [L::NOTHING; LANES];
        for group in 0..chunk.groups {
            for ky in 0..self.kernel {
                let inputs: [_; MAX_CHANNELS] = array::from_fn(|i| {
                    let channel = chunk.channels.start + group * self.width + i;
                    match channel < chunk.channels.end {
                        true => input.start(self.input.at(channel, ky as isize - pad, -pad) + corner, L::LANES),
                        false => nothing.as_ptr(),
                    }
                });
                let table = tables.wrapping_add((group * self.kernel + ky) << self.width);
                // SAFETY: a kernel is only used where its instructions are; the inputs are as checked, and the tables of a
                // chunk fit.
                unsafe { L::build(&inputs[..self.width], table) };
            }
        }
    }

    /// From the sums of a filter to its values in the output map.
    fn finish(
        &self,
        filter: usize,
        run: &Run,
        sums: impl Iterator<Item = *const L::Sums>,
        results: *mut O,
        memory: &Memory,
    ) {
        let len = self.lines.len();
        for (line, sums) in sums.enumerate() {
            // SAFETY: a kernel is only used where its instructions are; the sums were written, and the results hold the
            // lines of an item and what the last one writes past its end.
            unsafe { L::finish(self.kernel, &*sums, self.follow[filter], results.add(line * len)) };
        }
        // SAFETY: these were written.
        let results = unsafe { slice::from_raw_parts(results, run.lines.len() * len) };
        self.lines.store(run, results, &self.output, filter, memory);
    }

    /// All of some filters for an output that stands in no line.
    fn run_apart(&self, rest: &Rest, (y, x): (usize, usize), filters: Range<usize>, memory: &Memory) {
        let output = memory.write::<O>(&self.output);
        rest.sums((y, x), filters, &memory.read(&self.input), |filter, sum| {
            let at = self.output.at(filter, y as isize, x as isize);
            // SAFETY: only this item uses this value; a layer never reads where it writes.
            let result = unsafe { output.run(at, 1) };
            let follow = Follow { offset: 0, ..self.follow[filter] };
            // SAFETY: there is room for one result.
            unsafe { finish(&[sum], [0], follow, result.as_mut_ptr()) };
        });
    }
}

impl<L: Lookup, O: Stored> Work for Binary<L, O> {
    fn items(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.outputs().len());
        self.lines.runs().len() * self.blocks + rest * self.threads
    }

    fn run(&self, item: usize, memory: &Memory) {
        let runs = self.lines.runs();
        let filters = self.output.shape.channels;
        if let (Some(item), Some(rest)) = (item.checked_sub(runs.len() * self.blocks), &self.rest) {
            let filters = part(filters, item % self.threads, self.threads);
            return self.run_apart(rest, rest.outputs()[item / self.threads], filters, memory);
        }
        let filters = part(filters, item % self.blocks, self.blocks);
        let run = &runs[item / self.blocks];
        let lines = &run.lines;
        let mut scratch = MaybeUninit::<Scratch<L, O>>::uninit();
        self.sum(lines, &filters, &memory.read(&self.input), &mut scratch);

        let scratch = scratch.as_mut_ptr();
        // SAFETY: in bounds of the scratch.
        let (sums, results) =
            unsafe { ((&raw const (*scratch).sums).cast::<L::Sums>(), (&raw mut (*scratch).results).cast::<O>()) };
        for (index, filter) in filters.clone().enumerate() {
            let sums = (0..lines.len()).map(|line| sums.wrapping_add(line * filters.len() + index));
            self.finish(filter, run, sums, results, memory);
        }
    }
}

/// Into how many runs the lines and into how many blocks the filters are cut: the sums of an item must fit its scratch, and
/// the thread that has most to do should have little. Among equals, few items read the offsets less often.
fn cut(lines: usize, filters: usize, threads: usize) -> (usize, usize) {
    let fewest = filters.div_ceil(FILTERS);
    let choices = (fewest..fewest + 4).flat_map(|blocks| {
        let most = (SUMS / filters.div_ceil(blocks)).min(LINES);
        let fewest = lines.div_ceil(most);
        (fewest..=lines.min(fewest + threads)).map(move |runs| (runs, blocks))
    });
    let most_to_do = |&(runs, blocks): &(usize, usize)| {
        let items = runs * blocks;
        (items.div_ceil(threads) * lines.div_ceil(runs) * (filters.div_ceil(blocks) + BUILD), items)
    };
    choices.min_by_key(most_to_do).expect("a line has no more than the filters of a block")
}

/// Chunks whose sums fit an entry together.
fn spans(grouping: Grouping, filters: usize, most: usize) -> Vec<Vec<Piece>> {
    let mut first = 0;
    let mut inputs = 0;
    let mut spans: Vec<Vec<Piece>> = Vec::new();
    for chunk in grouping.chunks() {
        let pairs = grouping.pairs(&chunk);
        let added = chunk.channels.len() * grouping.kernel * grouping.kernel;
        let piece = Piece { chunk, first, pairs };
        first += filters * pairs;
        match spans.last_mut() {
            Some(span) if inputs + added <= most => {
                inputs += added;
                span.push(piece);
            }
            _ => {
                inputs = added;
                spans.push(vec![piece]);
            }
        }
    }
    spans
}

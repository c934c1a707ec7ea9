//! A binary convolution: which lines, which tables, which filters, in which order.
//!
//! An item is a few neighbouring lines and some filters, so many that their sums stay in a second-level cache. Chunk after
//! chunk, for each line the tables are built and each filter adds its entries. Where lines stand one below the other, the
//! tables of a row of the input serve three of them.

use super::{
    Follow, Lookup, MAX_CHANNELS, Step, Stored, finish,
    index::{Chunk, ENTRIES, Grouping, TABLES},
    lines::{Lines, Run, part},
    prefetch,
    rest::Rest,
};
use crate::engine::{
    arena::ArenaSlice,
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
    grouping: Grouping,
    spans: Vec<Vec<Piece>>,
    /// Entries of all filters in all chunks.
    entries: ArenaSlice<u64>,
    follow: Vec<Follow>,
    lines: Lines,
    rest: Option<Rest>,
    /// Into how many blocks the filters are cut.
    blocks: usize,
    lookup: PhantomData<(L, O)>,
}

/// A chunk and its entries.
struct Piece {
    chunk: Chunk,
    /// Where those of filter 0 start, for the first set of rows.
    first: usize,
    /// Of a filter.
    words: usize,
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
        let Convolution { kernel, stride, pool, weights, epilogue, input, output, threads, arena, .. } = convolution;
        let Weights::Bits(weights) = weights else { unreachable!("tables are for bits") };
        const { assert!(L::TABLES <= TABLES, "the tables of a chunk fit the scratch") };
        let rows = if pool { 1 } else { kernel };
        let grouping = Grouping { kernel, rows, channels: input.shape.channels, tables: L::TABLES };
        let filters = output.shape.channels;
        let follow = |filter: usize| Follow {
            offset: L::OFFSET * weights.sign_sum(filter),
            ..Follow::new(&epilogue, filter, output.element)
        };
        let rest = L::APART.map_or(0, |apart| apart.positions);
        let len = L::LANES - (kernel - 1);
        let (lines, blocks) = if pool {
            let blocks = filters.div_ceil(FILTERS);
            let rows = (SUMS / filters.div_ceil(blocks)).min(LINES) / 2 * 2;
            (Lines::pooled(&input, output.shape, len, rows, 1), blocks)
        } else {
            let lines = Lines::new(&input, output.shape, stride, len, rest);
            let (runs, blocks) = cut(lines.count(), filters, threads);
            (lines.in_runs(runs), blocks)
        };
        Self {
            grouping,
            spans: spans(grouping, filters, L::SPAN),
            entries: grouping.entries(weights, arena),
            follow: (0..filters).map(follow).collect(),
            rest: Rest::new(L::APART, lines.rest().to_vec(), weights, (&input, kernel)),
            lines,
            input,
            output,
            kernel,
            blocks,
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
        // SAFETY: in bounds of the scratch.
        let (tables, partial, sums) = unsafe {
            (
                (&raw mut (*scratch).tables).cast::<L::Line>(),
                (&raw mut (*scratch).partial).cast::<L::Line>(),
                (&raw mut (*scratch).sums).cast::<L::Sums>(),
            )
        };
        let sets = self.grouping.sets();
        let rows = 0..lines.len() + sets - 1;
        let corner = |row: usize| match sets {
            1 => self.lines.corner(lines.start + row),
            _ => self.lines.corner(lines.start) + row * self.lines.pitch(),
        };
        let turns = self
            .spans
            .iter()
            .enumerate()
            .flat_map(|(span, pieces)| rows.clone().flat_map(move |row| (0..pieces.len()).map(move |i| (span, row, i))));
        let mut turns = turns.peekable();
        while let Some((span, row, i)) = turns.next() {
            let pieces = &self.spans[span];
            self.build(&pieces[i].chunk, corner(row), input, tables);
            if let Some(&(span, row, i)) = turns.peek() {
                self.fetch(&self.spans[span][i].chunk, corner(row), input);
            }
            // With one set, the lines are those of the sums. Else the row is the first one of a window, the second of the
            // window above, the third of that above.
            for set in (row + 1).saturating_sub(lines.len())..sets.min(row + 1) {
                let step = Step {
                    kernel: self.kernel,
                    tables: pieces[i].chunk.groups * self.grouping.rows,
                    starts: i == 0,
                    ends: i + 1 == pieces.len(),
                    first: span == 0 && set == 0,
                };
                let sums = sums.wrapping_add((row - set) * filters.len());
                let entries = self.entries(&pieces[i], set, filters);
                // SAFETY: a kernel is only used where its instructions are; the tables of the chunk were built, and there are
                // sums for the filters of each line.
                unsafe { L::add(step, tables, entries, partial, sums) };
            }
        }
    }

    /// What some filters find in the tables of a chunk, for a set of rows.
    fn entries(&self, &Piece { first, words, .. }: &Piece, set: usize, filters: &Range<usize>) -> &[u64] {
        let first = first + set * self.follow.len() * words;
        &self.entries[first + filters.start * words..first + filters.end * words]
    }

    /// The tables of a chunk, `[group][ky]`, of a line whose windows start at some corner.
    fn build(&self, chunk: &Chunk, corner: usize, input: &Reader<'_, L::Input>, tables: *mut L::Line) {
        let Grouping { rows, .. } = self.grouping;
        let width = self.grouping.width();
        let nothing = [L::NOTHING; LANES];
        for group in 0..chunk.groups {
            for ky in 0..rows {
                let inputs: [_; MAX_CHANNELS] = array::from_fn(|i| {
                    let channel = chunk.channels.start + group * width + i;
                    match channel < chunk.channels.end {
                        true => self.positions(channel, ky, corner, input),
                        false => nothing.as_ptr(),
                    }
                });
                let table = tables.wrapping_add((group * rows + ky) << width);
                // SAFETY: a kernel is only used where its instructions are; the inputs are as checked, and the tables of a
                // chunk fit.
                unsafe { L::build(&inputs[..width], table) };
            }
        }
    }

    /// Fetches what [`Binary::build`] will read: maps come from far away, from more places than a CPU foresees.
    fn fetch(&self, chunk: &Chunk, corner: usize, input: &Reader<'_, L::Input>) {
        for channel in chunk.channels.clone() {
            for ky in 0..self.grouping.rows {
                let at = self.positions(channel, ky, corner, input);
                prefetch(at);
                prefetch(at.wrapping_add(L::LANES - 1));
            }
        }
    }

    /// A channel's positions that a row of the windows of a line reads.
    fn positions(&self, channel: usize, ky: usize, corner: usize, input: &Reader<'_, L::Input>) -> *const L::Input {
        let pad = (self.kernel / 2) as isize;
        input.start(self.input.at(channel, ky as isize - pad, -pad) + corner, L::LANES)
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
        if self.grouping.sets() > 1 {
            // SAFETY: a kernel is only used where its instructions are; there is room for what is read past the last line.
            unsafe { L::pool_lines(results, len, run.lines.len() / 2) };
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
        self.lines.runs().len() * self.blocks
    }

    fn run(&self, item: usize, memory: &Memory) {
        let runs = self.lines.runs();
        let filters = self.output.shape.channels;
        // Neighbouring items share their entries, and a thread has runs of all lengths.
        let (block, number) = (item / runs.len(), item % runs.len());
        let filters = part(filters, block, self.blocks);
        let run = &runs[number];
        let lines = &run.lines;
        let mut scratch = MaybeUninit::<Scratch<L, O>>::uninit();
        self.sum(lines, &filters, &memory.read(&self.input), &mut scratch);

        let scratch = scratch.as_mut_ptr();
        // SAFETY: in bounds of the scratch.
        let (sums, results) =
            unsafe { ((&raw const (*scratch).sums).cast::<L::Sums>(), (&raw mut (*scratch).results).cast::<O>()) };
        for (index, filter) in filters.clone().enumerate() {
            if filter + 1 < filters.end {
                self.lines.fetch::<O>(run, &self.output, filter + 1, memory);
            }
            let sums = (0..lines.len()).map(|line| sums.wrapping_add(line * filters.len() + index));
            self.finish(filter, run, sums, results, memory);
        }
        // Each run has its part of what is left over.
        if let Some(rest) = &self.rest {
            for &output in rest.outputs().iter().skip(number).step_by(runs.len()) {
                self.run_apart(rest, output, filters.clone(), memory);
            }
        }
    }
}

/// Into how many runs the lines and into how many blocks the filters are cut: the sums of an item must fit its scratch, and
/// the thread that has most to do should have little. Among equals, few items read the entries less often.
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

/// Chunks whose sums fit an entry together. With several sets of rows, one of each joins the sums at once.
fn spans(grouping: Grouping, filters: usize, most: usize) -> Vec<Vec<Piece>> {
    let most = if grouping.sets() == 1 { most } else { 0 };
    let mut first = 0;
    let mut inputs = 0;
    let mut spans: Vec<Vec<Piece>> = Vec::new();
    for chunk in grouping.chunks() {
        let words = grouping.words(&chunk);
        let added = chunk.channels.len() * grouping.kernel * grouping.kernel;
        let piece = Piece { chunk, first, words };
        first += filters * grouping.sets() * words;
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

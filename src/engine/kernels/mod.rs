//! How the layers are computed: one trait, one file for each family of kernels and architecture.
//!
//! A kernel says which [`Layout`] it wants and turns each layer into [`Work`]: weights packed as it likes them, cut into
//! items that threads run in any order. In int8 mode all kernels give the same bytes
//! ([`arithmetic`](super::arithmetic)); [`portable`] is the oracle of the others.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod choice;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod dense;
pub(super) mod moves;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod pack;
mod portable;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tables;
mod trial;
mod window;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(super) use choice::choose;

use super::{
    Mode,
    arena::Arena,
    arithmetic::{Epilogue, Weights},
    layout::{Layout, Map},
    memory::Memory,
};
use crate::network::{self, Precision, Shape, Source};

/// A family of kernels on one architecture.
pub(super) trait Kernel: Sync {
    /// The name by which it is chosen and shown.
    fn name(&self) -> &'static str;

    /// Can this CPU run it in this mode?
    fn runs(&self, mode: Mode) -> bool;

    /// What is known of its speed beside others of the same CPU.
    fn family(&self) -> Family {
        Family::Other
    }

    /// What its feature maps are in memory.
    fn layout(&self) -> Layout;

    /// Can this dense convolution of what is read pool what it gives, and is it worth it?
    fn pools(&self, _: &network::Convolution, _: Source, _: Mode) -> bool {
        false
    }

    /// Bytes that a dense convolution needs while it runs, besides its maps.
    fn scratch(&self, _precision: Precision, _kernel: usize, _input: Shape) -> usize {
        0
    }

    /// What has to be done before a dense convolution, one after another: its results stand in the scratch.
    fn preparations(&self, _: &Convolution<'_>) -> Vec<Box<dyn Work>> {
        Vec::new()
    }

    /// Prepares a dense convolution, binary or full precision.
    fn convolution(&self, convolution: Convolution<'_>) -> Box<dyn Work>;

    /// Prepares a depthwise convolution: filter `c` reads channel `c` only.
    fn depthwise(&self, convolution: Convolution<'_>) -> Box<dyn Work>;

    /// Prepares the maximum over 2×2 windows, stride 2.
    fn max_pool(&self, input: Map, output: Map) -> Box<dyn Work>;
}

/// Kernels between some of which the choice is clear without timing them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "elsewhere all have to be timed"))]
pub(super) enum Family {
    /// Dot products in tiles: where nearly all work is on one-bit weights, no other is faster.
    Tiles,
    /// Dot products of vectors. The larger the vectors, the faster; they stand in that order.
    Dots,
    /// Tables of vectors, likewise.
    Tables,
    /// One that has to be timed.
    Other,
}

/// A convolution to prepare, with same padding: output `(y, x)` sums the inputs from `(y·stride − kernel/2, …)` on.
pub(super) struct Convolution<'a> {
    /// Side of the kernel, 1 or 3.
    pub(super) kernel: usize,
    /// 1 or 2.
    pub(super) stride: usize,
    /// Is the output the maximum over 2×2 windows, stride 2, of the convolution's values? Only if the kernel pools.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel does not pool")
    )]
    pub(super) pool: bool,
    /// The weights; integers go with bytes, floats with floats, bits with both.
    pub(super) weights: Weights<'a>,
    pub(super) epilogue: Epilogue,
    /// Its border is at least `kernel / 2` wide.
    pub(super) input: Map,
    /// Bytes (to be requantised) or floats.
    pub(super) output: Map,
    /// Where the scratch that the kernel asked for starts in the memory, in bytes.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the portable kernel needs none"))]
    pub(super) scratch: usize,
    /// Threads among which its items are to be shared evenly.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel has items enough")
    )]
    pub(super) threads: usize,
    /// Where what is packed should stand.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernel reads weights as they are")
    )]
    pub(super) arena: &'a Arena,
}

/// One layer, or what has to be done before it, ready to run.
pub(super) trait Work: Send + Sync {
    /// Number of items, which may run in any order and at the same time.
    fn items(&self) -> usize;

    /// Computes one item. It writes values of the output map (or the scratch) that no other item writes, and never the
    /// border of the output map.
    fn run(&self, item: usize, memory: &Memory);
}

/// A loop of nothing but products of bytes.
pub(super) struct Burst {
    /// The instruction that multiplies.
    pub(super) instruction: &'static str,
    /// Multiply-adds of one run.
    pub(super) multiply_adds: u64,
    /// The loop. To be called only on the CPU that it was given out on, on a thread that no kernel runs on. No memory is
    /// touched, and what the registers hold does not matter to its time.
    pub(super) run: unsafe fn(),
}

/// The loops that this CPU can run, that of the best instruction first.
pub(super) fn bursts() -> impl Iterator<Item = Burst> {
    #[cfg(target_arch = "x86_64")]
    let written = x86_64::bursts();
    #[cfg(target_arch = "aarch64")]
    let written = aarch64::bursts();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let written: [(bool, Burst); 0] = [];
    written.into_iter().filter(|(available, _)| *available).map(|(_, burst)| burst)
}

/// All kernels of this architecture, the preferred first.
fn all() -> impl Iterator<Item = &'static dyn Kernel> {
    #[cfg(target_arch = "x86_64")]
    let native = x86_64::KERNELS;
    #[cfg(target_arch = "aarch64")]
    let native = aarch64::KERNELS;
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let native: &[&dyn Kernel] = &[];
    native.iter().copied().chain([&portable::Portable as &dyn Kernel])
}

/// Names of the kernels that this CPU can run in a mode, the preferred first.
pub(super) fn names(mode: Mode) -> Vec<&'static str> {
    all().filter(|kernel| kernel.runs(mode)).map(|kernel| kernel.name()).collect()
}

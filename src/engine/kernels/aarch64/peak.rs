//! The int8 peak: products of registers with each other, nothing loaded or stored.

use super::{super::Burst, dotprod, i8mm};
use std::arch::asm;

/// Turns of each loop: about a millisecond or less.
const TURNS: u64 = 50_000;
/// Sums of a turn, each in a register: enough to hide how long a product takes.
const SUMS: u64 = 12;

/// A burst for each instruction, the best first, and whether this CPU has it.
pub(in crate::engine::kernels) fn bursts() -> [(bool, Burst); 3] {
    let burst = |instruction, products, run| Burst { instruction, multiply_adds: TURNS * SUMS * products, run };
    [
        (i8mm::available(), burst("usmmla", 32, usmmla)),
        (dotprod::available(), burst("udot", 16, udot)),
        (true, burst("smlal", 8, smlal)),
    ]
}

/// A loop over one instruction with each of twelve sums. What the registers hold does not matter to its time.
macro_rules! twelve {
    ($before:literal, $after:literal) => {
        asm!(
            "2:",
            concat!($before, "0", $after),
            concat!($before, "1", $after),
            concat!($before, "2", $after),
            concat!($before, "3", $after),
            concat!($before, "4", $after),
            concat!($before, "5", $after),
            concat!($before, "6", $after),
            concat!($before, "7", $after),
            concat!($before, "16", $after),
            concat!($before, "17", $after),
            concat!($before, "18", $after),
            concat!($before, "19", $after),
            "subs {turns}, {turns}, #1",
            "b.ne 2b",
            turns = inout(reg) TURNS => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            options(nostack, nomem)
        )
    };
}

/// # Safety
/// The CPU has products of matrices.
#[target_feature(enable = "neon,i8mm")]
unsafe fn usmmla() {
    // SAFETY: the instruction is there, and it touches no memory.
    unsafe { twelve!("usmmla v", ".4s, v20.16b, v21.16b") };
}

/// # Safety
/// The CPU has dot products.
#[target_feature(enable = "neon,dotprod")]
unsafe fn udot() {
    // SAFETY: the instruction is there, and it touches no memory.
    unsafe { twelve!("udot v", ".4s, v20.16b, v21.16b") };
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn smlal() {
    // SAFETY: the instruction is there, and it touches no memory.
    unsafe { twelve!("smlal v", ".8h, v20.8b, v21.8b") };
}

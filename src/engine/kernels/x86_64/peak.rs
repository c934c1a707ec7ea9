//! The int8 peak: products of registers with each other, nothing loaded or stored.

use super::{super::Burst, amx, avx2, avx512};
use std::arch::asm;

/// Turns of each loop: about a millisecond or less.
const TURNS: u64 = 50_000;
/// A product of tiles takes longer than one of registers.
const TILE_TURNS: u64 = 10_000;

/// A burst for each instruction, the best first, and whether this CPU has it.
pub(in crate::engine::kernels) fn bursts() -> [(bool, Burst); 4] {
    let burst = |instruction, multiply_adds, run| Burst { instruction, multiply_adds, run };
    [
        (amx::available(), burst("tdpbusd", TILE_TURNS * 4 * 16 * 16 * 64, tdpbusd)),
        (avx512::available(), burst("vpdpbusd, 64 bytes", TURNS * 12 * 64, vpdpbusd_512)),
        (avx2::vnni_available(), burst("vpdpbusd, 32 bytes", TURNS * 12 * 32, vpdpbusd_256)),
        (avx2::available(), burst("vpmaddubsw", TURNS * 8 * 32, vpmaddubsw)),
    ]
}

/// A loop over an assembly text for each of some registers. What they hold does not matter to its time.
macro_rules! turns {
    ($($line:expr),+) => {
        asm!(
            "2:",
            $($line,)+
            "dec {turns}",
            "jnz 2b",
            "vzeroupper",
            turns = inout(reg) TURNS => _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _,
            out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _,
            out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, nomem)
        )
    };
}

/// A line for each of twelve sums.
macro_rules! twelve {
    ($before:literal, $after:literal) => {
        turns!(
            concat!($before, "0", $after),
            concat!($before, "1", $after),
            concat!($before, "2", $after),
            concat!($before, "3", $after),
            concat!($before, "4", $after),
            concat!($before, "5", $after),
            concat!($before, "6", $after),
            concat!($before, "7", $after),
            concat!($before, "8", $after),
            concat!($before, "9", $after),
            concat!($before, "10", $after),
            concat!($before, "11", $after)
        )
    };
}

/// A product of bytes, widened and added to one of eight sums.
macro_rules! widened {
    ($($sum:literal),+) => {
        turns!($(concat!(
            "vpmaddubsw ymm12, ymm13, ymm14\n",
            "vpmaddwd ymm12, ymm12, ymm15\n",
            "vpaddd ymm", $sum, ", ymm", $sum, ", ymm12"
        )),+)
    };
}

/// # Safety
/// The CPU has AMX, the process may use tiles, and nobody else uses those of this thread.
unsafe fn tdpbusd() {
    // SAFETY: promised by the caller; the tiles are configured while the loop runs.
    unsafe {
        let _tiles = amx::whole_tiles();
        asm!(
            "2:",
            "tdpbusd tmm0, tmm4, tmm6",
            "tdpbusd tmm1, tmm4, tmm7",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "dec {turns}",
            "jnz 2b",
            turns = inout(reg) TILE_TURNS => _,
            options(nostack, nomem)
        );
    }
}

/// # Safety
/// The CPU has AVX-512 VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn vpdpbusd_512() {
    // SAFETY: the instructions are there, and they touch no memory.
    unsafe { twelve!("vpdpbusd zmm", ", zmm12, zmm13") };
}

/// # Safety
/// The CPU has AVX-VNNI.
#[target_feature(enable = "avx2")]
unsafe fn vpdpbusd_256() {
    // SAFETY: the instructions are there, and they touch no memory.
    unsafe { twelve!("{{vex}} vpdpbusd ymm", ", ymm12, ymm13") };
}

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn vpmaddubsw() {
    // SAFETY: the instructions are there, and they touch no memory.
    unsafe { widened!("0", "1", "2", "3", "4", "5", "6", "7") };
}

//! AMX: `tdpbusd` on tiles of 16 positions × 64 bytes and 64 bytes × 16 filters. 32 positions times 32 filters stay in
//! tiles. The groups of [`avx512`] are what a tile of weights wants: a row holds four inputs of 16 filters.
//!
//! The instructions are written as assembly: their intrinsics are not stable.

use super::{
    super::window::Run,
    avx512,
    dense::{CHUNK, Constants, Dot, PIXELS, REGION, Sums},
    pack::{Group, LANES, Signs},
};
use std::{
    arch::{asm, x86_64::__cpuid_count},
    mem::MaybeUninit,
    sync::LazyLock,
};

/// Does this CPU have AMX and does the system let this process use it? Asks the system once.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        if !(avx512::available() && has_instructions()) {
            return false;
        }
        let permitted = request_permission();
        if !permitted {
            log::warn!("the system refuses the use of AMX tiles; kernel 'amx-int8' is not available");
        }
        permitted
    });
    *AVAILABLE
}

/// CPUID leaf 7: AMX-TILE and AMX-INT8.
fn has_instructions() -> bool {
    let features = __cpuid_count(7, 0).edx;
    features >> 24 & 3 == 3
}

/// Linux gives tiles only to processes that ask: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that touches no memory of the process.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// The operand of `ldtilecfg`: eight tiles of 16 rows × 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        (row_bytes[tile], rows[tile]) = (64, 16);
        tile += 1;
    }
    Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// Bytes times ±1.
pub(super) struct Tiles;

impl Dot for Tiles {
    const WIDTH: usize = 1;
    const PIXELS: usize = 32;
    const REGION: usize = 384;
    const CHUNK: usize = CHUNK / 2;
    const STEP: usize = 64;
    const EVEN: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn expand(signs: &[Signs], groups: &mut [MaybeUninit<Group>]) {
        avx512::expand(signs, groups);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn stage(windows: &[*const u8], runs: &[Run], staged: *mut [u8; CHUNK], bytes: usize) {
        // SAFETY: promised by the caller.
        unsafe { avx512::stage_bytes(windows, runs, staged, bytes) };
    }

    unsafe fn accumulate(windows: &[*const u8], runs: &[Run], weights: *const Group, sums: *mut Sums, first: bool) {
        let distance = windows[1].addr().wrapping_sub(windows[0].addr());
        let mut weights = weights;
        // SAFETY: the tiles are as large as `CONFIGURATION` says: 16 windows at equal distances, 64 bytes of a run at a
        // time (its length is a multiple of that), 16 groups, 16 positions' sums. Nobody else uses tiles on this thread,
        // and none is left in use.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack));
            if first {
                asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
            } else {
                asm!(
                    "tileloadd tmm0, [{low} + {pitch}]",
                    "tileloadd tmm1, [{low} + {pitch} + 64]",
                    "tileloadd tmm2, [{high} + {pitch}]",
                    "tileloadd tmm3, [{high} + {pitch} + 64]",
                    low = in(reg) sums, high = in(reg) sums.add(16), pitch = in(reg) size_of::<Sums>(),
                    options(nostack)
                );
            }
            for run in runs {
                asm!(
                    "2:",
                    "tileloadd tmm6, [{weights} + {pitch}]",
                    "tileloadd tmm4, [{low} + {distance}]",
                    "tileloadd tmm7, [{weights} + {pitch} + 64]",
                    "tdpbusd tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{high} + {distance}]",
                    "tdpbusd tmm1, tmm4, tmm7",
                    "tdpbusd tmm2, tmm5, tmm6",
                    "tdpbusd tmm3, tmm5, tmm7",
                    "add {weights}, 2048",
                    "add {low}, 64",
                    "add {high}, 64",
                    "dec {steps}",
                    "jnz 2b",
                    weights = inout(reg) weights,
                    low = inout(reg) windows[0].add(run.offset) => _,
                    high = inout(reg) windows[16].add(run.offset) => _,
                    steps = inout(reg) run.len / 64 => _,
                    distance = in(reg) distance,
                    pitch = in(reg) size_of::<Group>(),
                    options(nostack)
                );
            }
            asm!(
                "tilestored [{low} + {pitch}], tmm0",
                "tilestored [{low} + {pitch} + 64], tmm1",
                "tilestored [{high} + {pitch}], tmm2",
                "tilestored [{high} + {pitch} + 64], tmm3",
                "tilerelease",
                low = in(reg) sums, high = in(reg) sums.add(16), pitch = in(reg) size_of::<Sums>(),
                options(nostack)
            );
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn to_bytes(sums: &Sums, constants: &Constants, slope: f32, zero_point: u8) -> [u8; LANES] {
        avx512::to_bytes(sums, constants, slope, zero_point)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn to_floats(sums: &Sums, constants: &Constants, slope: f32) -> [f32; LANES] {
        avx512::to_floats(sums, constants, slope)
    }
}

const _: () = assert!(Tiles::REGION <= REGION && Tiles::PIXELS <= PIXELS && size_of::<Group>() * 16 == 2048);

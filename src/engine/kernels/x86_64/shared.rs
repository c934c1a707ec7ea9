//! What both kernels of tables write alike on x86-64: parts of their `impl`s, compiled for the instructions of each.

/// All of `PoolLines`.
macro_rules! pool_lines {
    ($kind:ident, $features:literal) => {
        impl PoolLines for $kind {
            #[target_feature(enable = $features)]
            unsafe fn pool_lines<O: Stored>(lines: *mut O, len: usize, pairs: usize) {
                // SAFETY: promised by the caller.
                unsafe { tables::pool_lines(lines, len, pairs) };
            }
        }
    };
}

/// Types and tables of a `Lookup` of floats.
macro_rules! lookup_floats {
    ($features:literal) => {
        type Input = f32;
        type Line = Line<f32, 16>;
        type Sums = Line<f32, 16>;

        const LANES: usize = 16;
        const NOTHING: f32 = 0.0;
        const SPAN: usize = 0;
        const OFFSET: i32 = 0;

        #[target_feature(enable = $features)]
        unsafe fn build(inputs: &[*const f32], table: *mut Self::Line) {
            // SAFETY: promised by the caller.
            unsafe { build::<f32, 16>(inputs, table) };
        }
    };
}

/// Types and tables of a `Lookup` of bytes.
macro_rules! lookup_words {
    ($features:literal) => {
        type Input = u8;
        type Line = Line<i16, 32>;
        type Sums = Line<i32, 32>;

        const LANES: usize = 32;
        const NOTHING: u8 = tables::MIDDLE;
        const SPAN: usize = tables::WORD_SPAN;
        const OFFSET: i32 = tables::MIDDLE as i32;

        #[target_feature(enable = $features)]
        unsafe fn build(inputs: &[*const u8], table: *mut Self::Line) {
            // SAFETY: promised by the caller.
            unsafe { build::<i16, 32>(inputs, table) };
        }
    };
}

/// `Products` of floats but for the products of a block.
macro_rules! products_floats {
    ($features:literal) => {
        type Input = f32;
        type Weight = f32;
        type Sum = f32;

        const TOGETHER: usize = 1;

        fn weights<'a>(weights: &'a Weights<'_>) -> &'a [f32] {
            tables::floats(weights)
        }

        #[target_feature(enable = $features)]
        unsafe fn multiply_one(line: *const f32, offsets: &[usize], weights: &[f32]) -> [f32; LANES] {
            // SAFETY: promised by the caller.
            unsafe { tables::multiply_one_float(line, offsets, weights) }
        }

        #[target_feature(enable = $features)]
        unsafe fn pool(top: &[f32], bottom: &[f32], largest: &mut [f32]) {
            tables::pool(top, bottom, largest);
        }

        #[target_feature(enable = $features)]
        unsafe fn finish<O: Stored>(sums: &[f32; LANES], follow: Follow, results: &mut [O; LANES]) {
            // SAFETY: there is room for 16 results.
            unsafe { tables::finish(sums, [0], follow, results.as_mut_ptr()) };
        }
    };
}

/// `Products` of bytes but for the products of a block.
macro_rules! products_words {
    ($features:literal) => {
        type Input = u8;
        type Weight = i16;
        type Sum = i32;

        const TOGETHER: usize = 2;

        fn weights<'a>(weights: &'a Weights<'_>) -> &'a [i16] {
            tables::integers(weights)
        }

        #[target_feature(enable = $features)]
        unsafe fn multiply_one(line: *const u8, offsets: &[usize], weights: &[i16]) -> [i32; LANES] {
            // SAFETY: promised by the caller.
            unsafe { tables::multiply_one_byte(line, offsets, weights) }
        }

        #[target_feature(enable = $features)]
        unsafe fn pool(top: &[u8], bottom: &[u8], largest: &mut [u8]) {
            pool(top, bottom, largest);
        }

        #[target_feature(enable = $features)]
        unsafe fn finish<O: Stored>(sums: &[i32; LANES], follow: Follow, results: &mut [O; LANES]) {
            // SAFETY: there is room for 16 results; the instructions include AVX2.
            unsafe {
                match O::bytes(results.as_mut_ptr()) {
                    Some(bytes) => requantize(sums, [0], follow, bytes),
                    None => tables::finish(sums, [0], follow, results.as_mut_ptr()),
                }
            }
        }
    };
}

pub(super) use {lookup_floats, lookup_words, pool_lines, products_floats, products_words};

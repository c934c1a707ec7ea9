//! Which loop sums a step of tables: what both kernels of tables choose on x86-64.

/// Calls the loop for the shape of a step's tables, `$one` for 1×1 and `$three` for 3×3. Its first constant is the number of
/// steps or groups of a chunk.
macro_rules! by_shape {
    ($step:ident, $one:ident, $three:ident, [$($more:literal)*], $arguments:tt) => {
        match ($step.kernel, $step.groups) {
            (1, 4) => $one::<1, $($more),*>$arguments,
            (1, 8) => $one::<2, $($more),*>$arguments,
            (1, _) => $one::<3, $($more),*>$arguments,
            (_, 1) => $three::<1, $($more),*>$arguments,
            _ => $three::<2, $($more),*>$arguments,
        }
    };
}

/// [`by_shape!`] for loops over words, whose last constants say whether a span of partial sums starts and ends here.
macro_rules! by_shape_and_span {
    ($step:ident, $one:ident, $three:ident, $arguments:tt) => {
        match ($step.starts, $step.ends) {
            (true, true) => by_shape!($step, $one, $three, [true true], $arguments),
            (true, false) => by_shape!($step, $one, $three, [true false], $arguments),
            (false, true) => by_shape!($step, $one, $three, [false true], $arguments),
            (false, false) => by_shape!($step, $one, $three, [false false], $arguments),
        }
    };
}

pub(super) use {by_shape, by_shape_and_span};

//! Which loop sums a step of tables: what both kernels of tables choose on x86-64.

/// Calls the loop for a step's tables: `$one` for 1×1, whose first constant is the number of tables over
/// `STEP_1`, or `$three` for 3×3, whose first ones are the number of tables and of words that a filter has for them.
macro_rules! by_shape {
    ($step:ident, $one:ident, $three:ident, [$($more:literal)*], $arguments:tt) => {
        match ($step.kernel, $step.tables) {
            (1, 4) => $one::<1, $($more),*>$arguments,
            (1, 8) => $one::<2, $($more),*>$arguments,
            (1, _) => $one::<3, $($more),*>$arguments,
            (_, 1) => $three::<1, 1, $($more),*>$arguments,
            (_, 2) => $three::<2, 1, $($more),*>$arguments,
            (_, 3) => $three::<3, 1, $($more),*>$arguments,
            (_, 4) => $three::<4, 2, $($more),*>$arguments,
            (_, 5) => $three::<5, 2, $($more),*>$arguments,
            _ => $three::<6, 2, $($more),*>$arguments,
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

/// Calls `$row!` with the numbers of the tables that a chunk of a 3×3 layer has at most.
macro_rules! each_table {
    ($row:ident) => {
        $row!(0);
        $row!(1);
        $row!(2);
        $row!(3);
        $row!(4);
        $row!(5);
    };
}

pub(super) use {by_shape, by_shape_and_span, each_table};

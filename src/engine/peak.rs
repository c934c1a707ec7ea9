//! What the machine could compute at most, to compare the engine with.

use super::kernels;
use std::{thread, time::Instant};

/// The largest rate of products of bytes that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Int8Peak {
    /// The instruction that multiplies.
    pub instruction: &'static str,
    /// Two operations for each multiply-add, over all threads.
    pub giga_operations_per_second: f64,
}

/// Bursts on each thread, the quickest of which counts.
const BURSTS: usize = 50;

/// Measures the int8 peak of so many threads: the best dot-product instruction of this CPU on registers alone, on all of them
/// at the same time. `None` where no loop is written for the CPU. Takes a tenth of a second.
pub fn int8_peak(threads: usize) -> Option<Int8Peak> {
    let burst = kernels::bursts().next()?;
    let quickest = || (0..BURSTS).map(|_| burst.nanoseconds()).fold(f64::INFINITY, f64::min);
    let rate = || 2.0 * burst.multiply_adds as f64 / quickest();
    let giga_operations_per_second = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(rate)).collect();
        rate() + others.into_iter().map(|thread| thread.join().expect("a burst does not panic")).sum::<f64>()
    });
    Some(Int8Peak { instruction: burst.instruction, giga_operations_per_second })
}

impl kernels::Burst {
    fn nanoseconds(&self) -> f64 {
        let start = Instant::now();
        // SAFETY: a burst is given out only for instructions that the CPU has; no kernel runs on this thread.
        unsafe { (self.run)() };
        start.elapsed().as_nanos() as f64
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    /// No crash and no hang: what it measures is nobody's to foretell.
    #[test]
    fn every_loop_ends() {
        assert!(kernels::bursts().all(|burst| burst.nanoseconds() > 0.0));
    }

    #[test]
    fn every_cpu_with_a_fast_kernel_has_a_peak() {
        let fast = super::super::kernels(super::super::Mode::Int8).len() > 1;
        let peak = int8_peak(2);
        assert_eq!(peak.is_some(), fast);
        assert!(peak.is_none_or(|peak| peak.giga_operations_per_second > 0.0));
    }
}

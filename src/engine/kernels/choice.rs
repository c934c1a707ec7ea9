//! Which kernel runs a network: the one asked for, or the quickest on the network's own layers.

use super::{
    Family, Kernel, Work, all, names,
    trial::{Trial, trials},
};
use crate::{
    engine::{EngineError, Mode, arena::Arena, memory::Memory},
    network::Network,
};
use std::time::{Duration, Instant};

/// Runs of a trial, at most; the quickest counts.
const RUNS: usize = 6;
/// Runs of a trial, at least. The first is cold, and a moment that disturbs the next one must not decide.
const FEWEST_RUNS: usize = 3;
/// A kernel that has taken so much longer than the quickest by then, in percent, is not timed again.
const HOPELESS: u32 = 115;

/// The kernel of this name, or the quickest that runs here.
pub(in crate::engine) fn choose(
    name: Option<&str>,
    mode: Mode,
    network: &Network,
) -> Result<&'static dyn Kernel, EngineError> {
    let usable: Vec<_> = all().filter(|kernel| kernel.runs(mode)).collect();
    let chosen = match name {
        Some(name) => usable.into_iter().find(|kernel| kernel.name() == name),
        None => quickest(&usable, mode, network),
    };
    let kernel =
        chosen.ok_or_else(|| EngineError::Kernel { name: name.unwrap_or_default().into(), mode, available: names(mode) })?;
    log::info!("kernel {} for {mode} mode", kernel.name());
    Ok(kernel)
}

/// The quickest of some kernels, the last of which is the portable one: wherever another runs, that one is slower.
fn quickest(usable: &[&'static dyn Kernel], mode: Mode, network: &Network) -> Option<&'static dyn Kernel> {
    let (&last, others) = usable.split_last()?;
    let trials = trials(network);
    let others = worth_timing(others, &trials);
    if others.len() < 2 {
        return Some(others.first().copied().unwrap_or(last));
    }
    let arena = Arena::default();
    let contender = |&kernel| Contender::new(kernel, mode, &trials, &arena);
    let mut contenders: Vec<_> = others.iter().map(contender).collect();
    // One for all: pages are made when they are touched first, which takes as long as a trial.
    let Ok(memory) = Memory::new(contenders.iter().map(|contender| contender.bytes).max().unwrap_or_default()) else {
        return Some(last);
    };
    // By turns, so that what disturbs the machine for a moment disturbs all of them.
    let mut passed_over = Vec::new();
    for run in 1..=RUNS {
        contenders.iter_mut().for_each(|contender| contender.run(&memory));
        let best = contenders.iter().map(Contender::time).min().unwrap_or_default();
        if run >= FEWEST_RUNS {
            passed_over.extend(contenders.extract_if(.., |contender| contender.time() > best * HOPELESS / 100));
        }
        if contenders.len() < 2 {
            break;
        }
    }
    for contender in contenders.iter().chain(&passed_over) {
        log::debug!("kernel {}: about {:?} for an image's heaviest layers", contender.kernel.name(), contender.time());
    }
    Some(contenders.iter().min_by_key(|contender| contender.time()).map_or(last, |best| best.kernel))
}

/// Those that may be the quickest. They stand in the order in which they are preferred.
fn worth_timing(kernels: &[&'static dyn Kernel], trials: &[(Trial, f64)]) -> Vec<&'static dyn Kernel> {
    let one_bit = trials.iter().all(|(trial, _)| trial.is_binary());
    let mut worth: Vec<&'static dyn Kernel> = Vec::new();
    for &kernel in kernels {
        let loses = worth.iter().any(|other| match other.family() {
            Family::Tiles => one_bit,
            Family::Other => false,
            family => kernel.family() == family,
        });
        if !loses {
            worth.push(kernel);
        }
    }
    worth
}

/// A kernel, ready to run the trials.
struct Contender {
    kernel: &'static dyn Kernel,
    trials: Vec<Ready>,
    /// Memory that the trials need, one after the other.
    bytes: usize,
}

/// A trial, ready to run.
struct Ready {
    works: Vec<Box<dyn Work>>,
    /// How many of it the network is worth.
    times: f64,
    /// The least time so far.
    best: Duration,
}

impl Contender {
    fn new(kernel: &'static dyn Kernel, mode: Mode, trials: &[(Trial, f64)], arena: &Arena) -> Self {
        let ready = |&(trial, times): &(Trial, f64)| {
            let (works, bytes) = trial.prepare(kernel, mode, arena);
            (Ready { works, times, best: Duration::MAX }, bytes)
        };
        let (trials, bytes): (_, Vec<_>) = trials.iter().map(ready).unzip();
        Self { kernel, trials, bytes: bytes.into_iter().max().unwrap_or_default() }
    }

    /// Each trial once.
    fn run(&mut self, memory: &Memory) {
        for Ready { works, best, .. } in &mut self.trials {
            let start = Instant::now();
            works.iter().for_each(|work| (0..work.items()).for_each(|item| work.run(item, memory)));
            *best = start.elapsed().min(*best);
        }
    }

    /// What the network's layers like those that were tried would take, by the least times of the trials.
    fn time(&self) -> Duration {
        self.trials.iter().map(|trial| trial.best.mul_f64(trial.times)).sum()
    }
}

//! What a run tells: one line for each step and each epoch, in CSV files, and the same for TensorBoard.

use super::{Progress, TrainError, events::Events, times::Times};
use csv::{Writer, WriterBuilder};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

/// Running means of a loss's terms.
#[derive(Default)]
pub(super) struct Means {
    sums: Vec<(String, f64)>,
    count: usize,
}

impl Means {
    pub(super) fn add(&mut self, terms: &[(String, f32)]) {
        if self.sums.is_empty() {
            self.sums = terms.iter().map(|(name, _)| (name.clone(), 0.0)).collect();
        }
        for ((_, sum), (_, value)) in self.sums.iter_mut().zip(terms) {
            *sum += f64::from(*value);
        }
        self.count += 1;
    }

    fn terms(&self) -> impl Iterator<Item = (&str, f64)> {
        self.sums.iter().map(|(name, sum)| (name.as_str(), sum / self.count as f64))
    }

    pub(super) fn total(&self) -> f64 {
        self.terms().map(|(_, mean)| mean).sum()
    }
}

/// The CSV files of a run, opened for appending, and a new event file.
pub(super) struct Metrics {
    steps: Table,
    epochs: Table,
    times: Table,
    events: Events,
}

impl Metrics {
    /// Opens the files and drops the lines written after the checkpoint, which will be written again.
    pub(super) fn open(folder: &Path, progress: &Progress) -> Result<Self, TrainError> {
        Ok(Self {
            steps: Table::open(folder.join("steps.csv"), progress.steps)?,
            epochs: Table::open(folder.join("epochs.csv"), progress.epochs)?,
            times: Table::open(folder.join("times.csv"), progress.epochs)?,
            events: Events::open(folder, progress.steps)?,
        })
    }

    pub(super) fn step(
        &mut self,
        stage: &str,
        progress: &Progress,
        rate: f64,
        terms: &[(String, f32)],
        norm: f32,
    ) -> Result<(), TrainError> {
        let mut row = vec![("step", progress.steps.to_string()), ("stage", stage.to_owned()), ("rate", format!("{rate:e}"))];
        row.extend(terms.iter().map(|(name, value)| (name.as_str(), value.to_string())));
        row.push(("gradient_norm", norm.to_string()));
        self.steps.push(row)?;
        let mut values = vec![("rate".into(), rate), ("gradient_norm".into(), norm.into())];
        values.extend(terms.iter().map(|(name, value)| (format!("step/{name}"), f64::from(*value))));
        self.events.scalars(progress.steps, values)
    }

    /// Writes where an epoch's time went.
    pub(super) fn times(&mut self, stage: &str, progress: &Progress, times: &Times) -> Result<(), TrainError> {
        let mut row = vec![("epoch", progress.epochs.to_string()), ("stage", stage.to_owned())];
        row.push(("images_per_second", format!("{:.3}", times.images_per_second())));
        row.extend(times.shares().map(|(name, share)| (name, format!("{share:.4}"))));
        self.times.push(row)
    }

    /// Writes an epoch's line and returns it for people.
    pub(super) fn epoch(
        &mut self,
        stage: &str,
        progress: &Progress,
        training: &Means,
        validation: Option<&Means>,
    ) -> Result<String, TrainError> {
        let mut row = vec![("epoch", progress.epochs.to_string()), ("stage", stage.to_owned())];
        row.extend(training.terms().map(|(name, mean)| (name, format!("{mean:.6}"))));
        row.push(("loss", format!("{:.6}", training.total())));
        row.push(("validation_loss", validation.map_or(String::new(), |v| format!("{:.6}", v.total()))));
        let message = row.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
        self.epochs.push(row)?;
        let mut values: Vec<_> = training.terms().map(|(name, mean)| (format!("epoch/{name}"), mean)).collect();
        values.push(("epoch/loss".into(), training.total()));
        values.extend(validation.map(|v| ("epoch/validation_loss".into(), v.total())));
        self.events.scalars(progress.steps, values)?;
        Ok(message)
    }
}

/// A CSV file whose header is its first row's names.
struct Table {
    path: PathBuf,
    writer: Writer<File>,
    empty: bool,
}

impl Table {
    /// Opens a file for appending after its first `rows` rows; later ones are dropped.
    fn open(path: PathBuf, rows: u64) -> Result<Self, TrainError> {
        let open = OpenOptions::new().create(true).truncate(false).read(true).append(true).open(&path);
        let file = open.map_err(TrainError::file(&path))?;
        let lines = if rows == 0 { 0 } else { rows + 1 };
        let kept: Result<u64, _> =
            BufReader::new(&file).split(b'\n').take(lines as usize).map(|l| Ok(l?.len() as u64 + 1)).sum();
        let kept = kept.map_err(TrainError::file(&path))?;
        file.set_len(kept).map_err(TrainError::file(&path))?;
        Ok(Self { writer: WriterBuilder::new().from_writer(file), path, empty: kept == 0 })
    }

    fn push(&mut self, row: Vec<(&str, String)>) -> Result<(), TrainError> {
        let (names, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let write = || {
            if self.empty {
                self.writer.write_record(names)?;
                self.empty = false;
            }
            self.writer.write_record(values)?;
            self.writer.flush().map_err(csv::Error::from)
        };
        write().map_err(|source| TrainError::Csv { path: self.path.clone(), source })
    }
}

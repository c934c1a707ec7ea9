//! A run's epochs, read back from its metrics.

use super::ReportError;
use std::path::Path;

/// The lines of a run's `epochs.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The stage of each epoch.
    pub stages: Vec<String>,
    /// The terms of the loss, `loss` and `validation_loss`: name, and a value for each epoch; none where none was taken.
    pub curves: Vec<(String, Vec<Option<f64>>)>,
}

impl History {
    /// Reads the metrics of the run in this folder.
    ///
    /// # Errors
    /// If the file is missing, or is not what training writes.
    pub fn read(run: &Path) -> Result<Self, ReportError> {
        let path = run.join("epochs.csv");
        let csv = |source| ReportError::Csv { path: path.clone(), source };
        let wrong = |reason| ReportError::Metrics { path: path.clone(), reason };
        let mut reader = csv::Reader::from_path(&path).map_err(csv)?;
        let names: Vec<String> = reader.headers().map_err(csv)?.iter().map(str::to_owned).collect();
        let stage = names.iter().position(|name| name == "stage").ok_or_else(|| wrong("no column 'stage'".into()))?;
        let columns: Vec<usize> = (0..names.len()).filter(|&index| index != stage && names[index] != "epoch").collect();
        let mut history =
            Self { stages: Vec::new(), curves: columns.iter().map(|&i| (names[i].clone(), Vec::new())).collect() };
        for record in reader.records() {
            let record = record.map_err(csv)?;
            history.stages.push(record[stage].to_owned());
            for ((name, values), &column) in history.curves.iter_mut().zip(&columns) {
                let text = &record[column];
                let value = if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
                let epoch = history.stages.len();
                values.push(value.map_err(|_| wrong(format!("epoch {epoch}: {name} is '{text}', no number")))?);
            }
        }
        Ok(history)
    }

    /// The last value of a curve.
    pub fn last(&self, name: &str) -> Option<f64> {
        let (_, values) = self.curves.iter().find(|(other, _)| other == name)?;
        values.iter().rev().find_map(|value| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn metrics_are_read_back_and_broken_ones_told() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            fs::write(folder.path().join("epochs.csv"), text).unwrap();
            History::read(folder.path())
        };
        let history = read("epoch,stage,coords,loss,validation_loss\n1,a,0.5,2,\n2,b,0.25,1,1.5\n3,b,0.125,0.5,\n").unwrap();
        assert_eq!(history.stages, ["a", "b", "b"]);
        assert_eq!(history.curves[0], ("coords".into(), vec![Some(0.5), Some(0.25), Some(0.125)]));
        assert_eq!(history.curves[2].1, [None, Some(1.5), None]);
        assert_eq!((history.last("validation_loss"), history.last("loss"), history.last("x")), (Some(1.5), Some(0.5), None));

        let error = read("epoch,stage,loss\n1,a,much\n").unwrap_err().to_string();
        assert!(error.contains("epochs.csv: epoch 1: loss is 'much'"), "{error}");
        let error = read("epoch,loss\n1,1\n").unwrap_err().to_string();
        assert!(error.contains("no column 'stage'"), "{error}");
        let error = read("epoch,stage,loss\n1,a\n").unwrap_err().to_string();
        assert!(error.contains("epochs.csv"), "{error}");
        let error = History::read(Path::new("nowhere")).unwrap_err().to_string();
        assert!(error.contains("nowhere"), "{error}");
    }
}

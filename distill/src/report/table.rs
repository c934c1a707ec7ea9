//! Several runs in one table.

use super::{EVALUATION, History, ReportError};
use crate::{
    recipe::{OptimizerConfig, Recipe},
    training::{Progress, RECIPE},
};
use onebit_detector::evaluation::kitti::Report;
use std::{fs::File, path::Path};

/// A table of runs: one row a run, every row with all columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<(String, String)>>,
}

impl Table {
    /// Gathers the runs in these folders: what was trained, how far it came, the last losses, and AP (40 positions, moderate)
    /// of each class where the folder holds an [`EVALUATION`].
    ///
    /// # Errors
    /// If a folder holds no run, or a file of it cannot be read.
    pub fn gather<P: AsRef<Path>>(runs: &[P]) -> Result<Self, ReportError> {
        let mut table = Self::default();
        for run in runs {
            table.push(row(run.as_ref())?);
        }
        Ok(table)
    }

    fn push(&mut self, row: Vec<(String, String)>) {
        for (name, _) in &row {
            if !self.columns.contains(name) {
                self.columns.push(name.clone());
            }
        }
        self.rows.push(row);
    }

    /// The cells of each row, empty where a run has none.
    fn cells(&self) -> impl Iterator<Item = Vec<&str>> {
        let cell = |row: &'_ [(String, String)], name: &str| row.iter().position(|(other, _)| other == name);
        self.rows.iter().map(move |row| {
            self.columns.iter().map(|name| cell(row, name).map_or("", |index| row[index].1.as_str())).collect()
        })
    }

    /// As a table in Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |cells: Vec<&str>| {
            format!("| {} |\n", cells.iter().map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
        };
        let head = line(self.columns.iter().map(String::as_str).collect());
        let rule = line(vec!["---"; self.columns.len()]);
        head + &rule + &self.cells().map(line).collect::<String>()
    }

    /// Writes the table as a CSV file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<(), ReportError> {
        let write = || {
            let mut writer = csv::Writer::from_path(path)?;
            writer.write_record(&self.columns)?;
            self.cells().try_for_each(|cells| writer.write_record(cells))?;
            writer.flush().map_err(csv::Error::from)
        };
        write().map_err(|source| ReportError::Csv { path: path.into(), source })
    }
}

fn row(run: &Path) -> Result<Vec<(String, String)>, ReportError> {
    let recipe = Recipe::load(&run.join(RECIPE))?;
    let progress = Progress::of(run)?;
    let history = if progress.epochs > 0 { Some(History::read(run)?) } else { None };
    let loss = |name: &str| history.as_ref().and_then(|h| h.last(name)).map_or(String::new(), |loss| format!("{loss:.4}"));
    let stages: usize = recipe.stages.iter().map(|stage| stage.epochs).sum();
    let optimizer = match recipe.optimizer {
        OptimizerConfig::Adam(_) => "adam",
        OptimizerConfig::Sgd(_) => "sgd",
    };
    let mut row = vec![
        ("run", run.display().to_string()),
        ("network", recipe.network.topology.to_string()),
        ("width", recipe.network.width.to_string()),
        ("input", recipe.network.input.to_string()),
        ("seed", recipe.seed.to_string()),
        ("optimizer", optimizer.into()),
        ("epochs", format!("{} of {stages}", progress.epochs)),
        ("steps", progress.steps.to_string()),
        ("loss", loss("loss")),
        ("validation_loss", loss("validation_loss")),
    ];
    row.retain(|(_, value)| !value.is_empty());
    let mut row: Vec<_> = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let path = run.join(EVALUATION);
    if path.is_file() {
        let file = File::open(&path).map_err(|source| ReportError::File { path: path.clone(), source })?;
        let report: Report = serde_json::from_reader(file).map_err(|source| ReportError::Evaluation { path, source })?;
        row.extend(report.rows.iter().filter(|row| row.difficulty == "moderate").map(|row| {
            (format!("AP {} {}", row.class, row.min_overlap), row.r40.map_or("-".into(), |ap| format!("{ap:.2}")))
        }));
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebit_detector::evaluation::kitti::Row;
    use std::fs;

    const RECIPE_TEXT: &str = "
seed: 3
network: {topology: darknet-yolo-64, width: 0.25, input: 320x192}
data: {train: [{path: set}], classes: {Car: car}}
optimizer: {kind: sgd}
stages:
  - {name: one, epochs: 2, binary: none, learning_rate: {peak: 1.0e-3, end: 0}}
  - {name: two, epochs: 3, learning_rate: {peak: 1.0e-3, end: 0}}
";

    fn run(folder: &Path, epochs: u64) {
        fs::create_dir_all(folder.join("checkpoint")).unwrap();
        fs::write(folder.join(RECIPE), RECIPE_TEXT).unwrap();
        let progress = format!(r#"{{"stage": 1, "epoch": 0, "epochs": {epochs}, "steps": 40, "seen": 80}}"#);
        fs::write(folder.join("checkpoint/progress.json"), progress).unwrap();
    }

    #[test]
    fn runs_are_gathered_into_one_table() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b|c"].map(|name| folder.path().join(name));
        run(&a, 0);
        run(&b, 2);
        fs::write(b.join("epochs.csv"), "epoch,stage,loss,validation_loss\n1,one,3,\n2,one,2.00006,2.5\n").unwrap();
        let row = |difficulty: &str, r40| Row {
            class: "Car".into(),
            min_overlap: 0.7,
            difficulty: difficulty.into(),
            objects: 4,
            r11: None,
            r40,
            precision: vec![0.0; 41],
            true_positives: 0,
            false_positives: 0,
            false_negatives: 4,
        };
        let rows = vec![row("easy", Some(50.0)), row("moderate", Some(41.256)), row("hard", None)];
        let report = Report { frames: 2, score_threshold: 0.5, rows };
        fs::write(b.join(EVALUATION), serde_json::to_string(&report).unwrap()).unwrap();

        let table = Table::gather(&[&a, &b]).unwrap();
        let text = table.to_markdown();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("| epochs | steps | loss | validation_loss | AP Car 0.7 |"), "{text}");
        assert!(lines[1].starts_with("| --- | --- |"), "{text}");
        let rest = "darknet-yolo-64 | 0.25 | 320x192 | 3 | sgd";
        assert!(lines[2].ends_with(&format!("a | {rest} | 0 of 5 | 40 |  |  |  |")), "{text}");
        assert!(lines[3].ends_with(&format!("b\\|c | {rest} | 2 of 5 | 40 | 2.0001 | 2.5000 | 41.26 |")), "{text}");

        let path = folder.path().join("table.csv");
        table.write_csv(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines().nth(2).unwrap().ends_with("b|c,darknet-yolo-64,0.25,320x192,3,sgd,2 of 5,40,2.0001,2.5000,41.26")
        );
    }

    #[test]
    fn what_is_no_run_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Table::gather(&[folder.path()]).unwrap_err().to_string();
        assert!(error.contains(RECIPE), "{error}");
        run(folder.path(), 1);
        let error = Table::gather(&[folder.path()]).unwrap_err().to_string();
        assert!(error.contains("epochs.csv"), "{error}");
    }
}

//! The scores of an ablation side by side.

use super::{Score, Scores};
use std::fmt;

/// Scores of several variants, each with several seeds. Prints as a Markdown table of one difficulty.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    variants: Vec<(String, Vec<(u64, Scores)>)>,
    difficulty: String,
}

/// A set and a class.
pub(super) type Column = (String, String);

/// Mean and spread of one number over runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) runs: usize,
    pub(super) mean: f64,
    /// Standard deviation of the sample; none with one seed.
    pub(super) deviation: Option<f64>,
}

impl Table {
    /// A table that shows a difficulty, such as `moderate`, without scores.
    pub fn new(difficulty: &str) -> Self {
        Self { variants: Vec::new(), difficulty: difficulty.into() }
    }

    /// The difficulty that it shows.
    pub(super) fn difficulty(&self) -> &str {
        &self.difficulty
    }

    /// Adds the scores of the run with this seed.
    pub fn add(&mut self, variant: &str, seed: u64, scores: Scores) {
        match self.variants.iter_mut().find(|(name, _)| name == variant) {
            Some((_, runs)) => runs.push((seed, scores)),
            None => self.variants.push((variant.to_owned(), vec![(seed, scores)])),
        }
    }

    /// Is nothing measured yet?
    pub fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// Every number, one line for each run, set, class and difficulty.
    pub fn to_csv(&self) -> String {
        let number = |value: Option<f64>| value.map(|v| format!("{v:.3}")).unwrap_or_default();
        let mut csv = csv::Writer::from_writer(Vec::new());
        let mut write = |record: [&str; 10]| csv.write_record(record).expect("memory takes everything");
        write(["variant", "seed", "set", "class", "difficulty", "objects", "ap_r40", "low", "high", "bytes"]);
        for (variant, runs) in &self.variants {
            for (seed, scores) in runs {
                let (seed, bytes) = (seed.to_string(), scores.bytes.to_string());
                for Score { set, class, difficulty, objects, ap, interval } in &scores.rows {
                    let [low, high] = [0, 1].map(|end| number(interval.map(|ends| ends[end])));
                    let (objects, ap) = (objects.to_string(), number(*ap));
                    write([variant, &seed, set, class, difficulty, &objects, &ap, &low, &high, &bytes]);
                }
            }
        }
        let bytes = csv.into_inner().expect("memory takes everything");
        String::from_utf8(bytes).expect("every field is text")
    }

    /// The variants, each with the scores of its runs for a set and a class at the difficulty that is shown.
    pub(super) fn variants<'a>(&'a self, column: &'a Column) -> impl ExactSizeIterator<Item = (&'a str, Vec<&'a Score>)> {
        self.variants.iter().map(move |(name, runs)| (name.as_str(), self.shown(runs, column).collect()))
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variants.iter().map(|(name, _)| name.as_str())
    }

    /// APs of a variant's runs, at the difficulty that is shown.
    pub(super) fn aps(&self, variant: &str, column: &Column) -> Vec<f64> {
        let runs = self.variants.iter().find(|(name, _)| name == variant).map(|(_, runs)| runs.as_slice());
        self.shown(runs.unwrap_or_default(), column).filter_map(|score| score.ap).collect()
    }

    /// Sets and classes that have objects, in the order of the first run.
    pub(super) fn columns(&self) -> Vec<Column> {
        let first = self.variants.first().and_then(|(_, runs)| runs.first());
        let rows = first.map(|(_, scores)| scores.rows.as_slice()).unwrap_or_default();
        let shown = rows.iter().filter(|row| row.difficulty == self.difficulty && row.objects > 0);
        shown.map(|row| (row.set.clone(), row.class.clone())).collect()
    }

    /// The score of each run for a set and a class at the difficulty that is shown.
    fn shown<'a>(&'a self, runs: &'a [(u64, Scores)], (set, class): &'a Column) -> impl Iterator<Item = &'a Score> {
        let same = move |row: &&Score| row.set == *set && row.class == *class && row.difficulty == self.difficulty;
        runs.iter().filter_map(move |(_, scores)| scores.rows.iter().find(same))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        write!(f, "| variant | runs | MB |")?;
        columns.iter().try_for_each(|(set, class)| write!(f, " {set} {class} |"))?;
        write!(f, "\n|{}\n", " --- |".repeat(columns.len() + 3))?;
        for (variant, runs) in &self.variants {
            write!(f, "| {variant} | {} | {:.2} |", runs.len(), runs[0].1.bytes as f64 * 1e-6)?;
            for column in &columns {
                match Summary::of(&self.aps(variant, column)) {
                    Some(summary) => write!(f, " {summary} |")?,
                    None => write!(f, " – |")?,
                }
            }
            writeln!(f)?;
        }
        let difficulty = &self.difficulty;
        writeln!(f, "\nAP (R40) in percent at the {difficulty} difficulty: mean ± standard deviation over runs.")
    }
}

impl Summary {
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { runs: values.len(), mean, deviation })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.mean)?;
        self.deviation.map_or(Ok(()), |deviation| write!(f, " ± {deviation:.1}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(car: f64) -> Scores {
        let row = |class: &str, difficulty: &str, objects, ap| Score {
            set: "test".into(),
            class: class.into(),
            difficulty: difficulty.into(),
            objects,
            ap,
            interval: ap.map(|ap| [ap - 1.0, ap + 1.0]),
        };
        let rows = vec![
            row("car", "easy", 3, Some(99.0)),
            row("car", "moderate", 5, Some(car)),
            row("cyclist", "moderate", 0, None),
        ];
        Scores { bytes: 250_000, rows }
    }

    #[test]
    fn seeds_are_summed_up() {
        let mut table = Table::new("moderate");
        table.add("alone", 1, scores(40.0));
        table.add("taught", 1, scores(50.0));
        table.add("taught", 3, scores(54.0));
        let lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "| variant | runs | MB | test car |");
        assert_eq!(lines[2], "| alone | 1 | 0.25 | 40.0 |");
        assert_eq!(lines[3], "| taught | 2 | 0.25 | 52.0 ± 2.8 |");
        let easy = Table { difficulty: "easy".into(), ..table.clone() };
        assert_eq!(easy.to_string().lines().nth(3), Some("| taught | 2 | 0.25 | 99.0 ± 0.0 |"));
        let csv = table.to_csv();
        assert_eq!(csv.lines().count(), 1 + 9);
        assert!(csv.contains("taught,3,test,car,moderate,5,54.000,53.000,55.000,250000"), "{csv}");
        assert!(csv.contains("alone,1,test,cyclist,moderate,0,,,,250000"), "{csv}");
    }
}

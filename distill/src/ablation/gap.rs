//! How much of the way from one variant to another the others go.

use super::{
    Table,
    table::{Column, Summary},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Two variants: the one to start from, such as binary weights alone, and the one to reach, such as full precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// What the others are compared with.
    pub from: String,
    /// What would be all of the way.
    pub to: String,
}

/// What every variant gains. Prints as a Markdown table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains<'a> {
    table: &'a Table,
    gap: &'a Gap,
}

/// A difference of two means.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gain {
    mean: f64,
    /// Its standard error, from the spread of both over their runs; none if one of them has one run.
    error: Option<f64>,
}

impl Gap {
    /// The gap in the scores of a table.
    pub fn gains<'a>(&'a self, table: &'a Table) -> Gains<'a> {
        Gains { table, gap: self }
    }
}

impl Gains<'_> {
    /// Points of AP that a variant has over `from`, the mean of its runs over the mean of those.
    fn of(&self, variant: &str, column: &Column) -> Option<Gain> {
        let [start, end] = [&self.gap.from, variant].map(|name| Summary::of(&self.table.aps(name, column)));
        let (start, end) = (start?, end?);
        let error = |summary: Summary| Some(summary.deviation?.powi(2) / summary.runs as f64);
        let error = error(start).zip(error(end)).map(|(start, end)| (start + end).sqrt());
        Some(Gain { mean: end.mean - start.mean, error })
    }

    /// The share of the gap that a variant closes; none unless the gap is beyond chance, that is twice its standard error.
    fn share(&self, gain: Gain, column: &Column) -> Option<f64> {
        let whole = self.of(&self.gap.to, column)?;
        (whole.mean > 2.0 * whole.error?).then_some(gain.mean / whole.mean)
    }

    fn write_cell(&self, f: &mut fmt::Formatter<'_>, variant: &str, column: &Column) -> fmt::Result {
        let Some(gain) = self.of(variant, column) else { return write!(f, " – |") };
        write!(f, " {:+.1}", gain.mean)?;
        gain.error.map_or(Ok(()), |error| write!(f, " ± {error:.1}"))?;
        match self.share(gain, column).filter(|_| variant != self.gap.to) {
            Some(share) => write!(f, " ({:.0} %) |", share * 100.0),
            None => write!(f, " |"),
        }
    }
}

impl fmt::Display for Gains<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap { from, to } = self.gap;
        let columns = self.table.columns();
        write!(f, "| over {from} |")?;
        columns.iter().try_for_each(|(set, class)| write!(f, " {set} {class} |"))?;
        write!(f, "\n|{}\n", " --- |".repeat(columns.len() + 1))?;
        for variant in self.table.names().filter(|name| name != from) {
            write!(f, "| {variant} |")?;
            columns.iter().try_for_each(|column| self.write_cell(f, variant, column))?;
            writeln!(f)?;
        }
        write!(
            f,
            "\nPoints of AP over {from}: difference of the means over runs ± its standard error. In brackets, the share of "
        )?;
        writeln!(f, "what {to} has over it, where that is more than twice its standard error.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ablation::{Score, Scores};

    fn scores(car: f64, cyclist: f64) -> Scores {
        let row = |class: &str, ap| {
            let (set, difficulty) = ("test".into(), "moderate".into());
            Score { set, class: class.into(), difficulty, objects: 5, ap: Some(ap), interval: None }
        };
        Scores { bytes: 1, rows: vec![row("car", car), row("cyclist", cyclist)] }
    }

    /// Cars: the means are 40, 65 and 52.5, their standard errors 0, 5 and 2.5. For cyclists the gap is 5, its error 15.
    #[test]
    fn means_are_compared() {
        let mut table = Table::new("moderate");
        table.add("full", 1, scores(60.0, 40.0));
        table.add("full", 2, scores(70.0, 10.0));
        table.add("binary", 1, scores(40.0, 20.0));
        table.add("binary", 2, scores(40.0, 20.0));
        table.add("taught", 2, scores(55.0, 24.0));
        table.add("taught", 1, scores(50.0, 20.0));
        table.add("once", 3, scores(90.0, 90.0));
        let gap = Gap { from: "binary".into(), to: "full".into() };
        let text = gap.gains(&table).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "| over binary | test car | test cyclist |");
        assert_eq!(lines[2], "| full | +25.0 ± 5.0 | +5.0 ± 15.0 |");
        assert_eq!(lines[3], "| taught | +12.5 ± 2.5 (50 %) | +2.0 ± 2.0 |");
        assert_eq!(lines[4], "| once | +50.0 (200 %) | +70.0 |");
        assert!(lines[6].contains("of what full has over it"));
    }
}

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
    /// What the others are compared with, run by run of the same seed: seeds differ more than variants do.
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

impl Gap {
    /// The gap in the scores of a table.
    pub fn gains<'a>(&'a self, table: &'a Table) -> Gains<'a> {
        Gains { table, gap: self }
    }
}

impl Gains<'_> {
    /// Points of AP that a variant has over `from`, for each seed of both.
    fn of(&self, variant: &str, column: &Column) -> Vec<(u64, f64)> {
        let start = self.table.aps(&self.gap.from, column);
        let over = |(seed, ap): (u64, f64)| Some((seed, ap - start.iter().find(|(other, _)| *other == seed)?.1));
        self.table.aps(variant, column).into_iter().filter_map(over).collect()
    }

    /// The share of the gap that a variant closes, over the seeds of all three; none unless the gap is there with every seed.
    fn share(&self, variant: &str, column: &Column) -> Option<f64> {
        let whole = self.of(&self.gap.to, column);
        let both = |(seed, gain)| Some((gain, whole.iter().find(|(other, _)| *other == seed)?.1));
        let pairs: Vec<(f64, f64)> = self.of(variant, column).into_iter().filter_map(both).collect();
        let open = !pairs.is_empty() && whole.iter().all(|(_, gap)| *gap > 0.0);
        let (gained, gap) = pairs.iter().fold((0.0, 0.0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
        open.then_some(gained / gap)
    }

    fn write_cell(&self, f: &mut fmt::Formatter<'_>, variant: &str, column: &Column) -> fmt::Result {
        let gains: Vec<_> = self.of(variant, column).into_iter().map(|(_, gain)| gain).collect();
        let Some(summary) = Summary::of(&gains) else { return write!(f, " – |") };
        write!(f, " {summary:+}")?;
        match self.share(variant, column).filter(|_| variant != self.gap.to) {
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
            "\nPoints of AP over {from} with the same seed: mean ± standard deviation over seeds. In brackets, the share "
        )?;
        writeln!(f, "of what {to} has over it, where it has more with every seed.")
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

    /// Cars: 20 and 30 points lie between, of which 10 and 15 are gained, and seed 3 has no start; for cyclists the gap is
    /// there with one seed only.
    #[test]
    fn runs_of_the_same_seed_are_compared() {
        let mut table = Table::default();
        table.add("full", 1, scores(60.0, 40.0));
        table.add("full", 2, scores(70.0, 10.0));
        table.add("binary", 1, scores(40.0, 20.0));
        table.add("binary", 2, scores(40.0, 20.0));
        table.add("taught", 2, scores(55.0, 24.0));
        table.add("taught", 1, scores(50.0, 20.0));
        table.add("taught", 3, scores(90.0, 90.0));
        table.add("other", 3, scores(90.0, 90.0));
        let gap = Gap { from: "binary".into(), to: "full".into() };
        let text = gap.gains(&table).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "| over binary | test car | test cyclist |");
        assert_eq!(lines[2], "| full | +25.0 ± 7.1 | +5.0 ± 21.2 |");
        assert_eq!(lines[3], "| taught | +12.5 ± 3.5 (50 %) | +2.0 ± 2.8 |");
        assert_eq!(lines[4], "| other | – | – |");
        assert!(lines[6].contains("of what full has over it"));
    }
}

//! Darknet's label files: `class cx cy w h`, one object a line; the box as shares of the image's width and height.

use super::{DataError, Object};
use crate::recipe::SetConfig;
use onebit_detector::detection::BBox;
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

/// Shares are printed with few digits: a box that fills the image may come out so much too large.
const ROUNDING: f64 = 1e-3;

/// The part of Ultralytics' `data.yaml` that is needed.
#[derive(Deserialize)]
struct Description {
    names: Names,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<String>),
    Numbered(BTreeMap<usize, String>),
}

/// Object types by number: the set's `names`, or those of its `data.yaml`.
pub(super) fn names(folder: &Path, set: &SetConfig) -> Result<BTreeMap<usize, String>, DataError> {
    if !set.names.is_empty() {
        return Ok(set.names.iter().cloned().enumerate().collect());
    }
    let path = folder.join("data.yaml");
    let wrong = |reason: String| DataError::Labels { path: path.clone(), reason };
    let text = fs::read_to_string(&path).map_err(|e| wrong(format!("{e}; it, or 'names' of the set, names the classes")))?;
    let description: Description = serde_yaml::from_str(&text).map_err(|e| wrong(format!("names: {e}")))?;
    Ok(match description.names {
        Names::List(names) => names.into_iter().enumerate().collect(),
        Names::Numbered(names) => names,
    })
}

/// The objects of a file; a sixth field is how sure the label is.
pub(super) fn read(path: &Path, size: [u32; 2], names: &BTreeMap<usize, String>) -> Result<Vec<Object>, DataError> {
    let wrong = |reason: String| DataError::Labels { path: path.into(), reason };
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| object(line, size, names).map_err(|e| wrong(format!("line {}: {e}", index + 1)))).collect()
}

fn object(line: &str, [width, height]: [u32; 2], names: &BTreeMap<usize, String>) -> Result<Object, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if !matches!(fields.len(), 5 | 6) {
        return Err(format!("{} fields; 'class cx cy w h' has 5, 6 with a score", fields.len()));
    }
    let known = fields[0].parse().ok().and_then(|class: usize| names.get(&class));
    let kind = known.ok_or_else(|| format!("class '{}' has no name", fields[0]))?;
    let share = |index: usize| match fields[index].parse::<f64>() {
        Ok(share) if (0.0..=1.0 + ROUNDING).contains(&share) => Ok(share as f32),
        _ => Err(format!("'{}' is not a share of the image, 0 to 1", fields[index])),
    };
    let weight = if fields.len() == 6 { share(5)? } else { 1.0 };
    if weight <= 0.0 || weight > 1.0 {
        return Err(format!("the score is {weight}; it must be above 0 and at most 1"));
    }
    let (width, height) = (width as f32, height as f32);
    let bbox = BBox { cx: share(1)? * width, cy: share(2)? * height, w: share(3)? * width, h: share(4)? * height };
    Ok(Object { kind: kind.clone(), bbox, ignored: false, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Object>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.txt");
        fs::write(&path, text).unwrap();
        let names = BTreeMap::from([(0, "person".to_owned()), (2, "car".to_owned())]);
        read(&path, [200, 100], &names).map_err(|e| e.to_string())
    }

    #[test]
    fn shares_become_pixels() {
        let bbox = |cx, cy, w, h| BBox { cx, cy, w, h };
        let object = |kind: &str, bbox, weight| Object { kind: kind.into(), bbox, ignored: false, weight };
        assert_eq!(
            parse("2 0.5 0.25 0.1 0.5\n\n0 1 1 0.5 0.5 0.75\n").unwrap(),
            [object("car", bbox(100.0, 25.0, 20.0, 50.0), 1.0), object("person", bbox(200.0, 100.0, 100.0, 50.0), 0.75)]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn a_wrong_line_is_told_with_its_number() {
        for (line, message) in [
            ("0 0.5 0.5 0.1", "7.txt: line 2: 4 fields"),
            ("1 0.5 0.5 0.1 0.1", "class '1' has no name"),
            ("car 0.5 0.5 0.1 0.1", "class 'car' has no name"),
            ("0 120 0.5 0.1 0.1", "'120' is not a share"),
            ("0 0.5 nan 0.1 0.1", "'nan' is not a share"),
            ("0 0.5 0.5 -0.1 0.1", "'-0.1' is not a share"),
            ("0 0.5 0.5 0.1 0.1 0", "the score is 0"),
        ] {
            let error = parse(&format!("0 0.5 0.5 1.0005 1\n{line}\n")).expect_err(line);
            assert!(error.contains(message), "{line}: {error}");
        }
    }

    #[test]
    fn names_come_from_the_recipe_or_the_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut set = SetConfig::kitti(".".into());
        let file = |text: &str| fs::write(folder.path().join("data.yaml"), text).unwrap();
        let error = names(folder.path(), &set).unwrap_err().to_string();
        assert!(error.contains("data.yaml"), "{error}");
        file("path: x\nnames: [a, b]\nnc: 2\n");
        assert_eq!(names(folder.path(), &set).unwrap()[&1], "b");
        file("names: {0: a, 7: b}\n");
        assert_eq!(names(folder.path(), &set).unwrap()[&7], "b");
        file("names: 3\n");
        assert!(names(folder.path(), &set).unwrap_err().to_string().contains("names"));
        set.names = vec!["c".into()];
        assert_eq!(names(folder.path(), &set).unwrap()[&0], "c");
    }
}

//! Pascal VOC's annotations: one XML file an image.

use super::{DataError, Object, checked};
use onebit_detector::detection::BBox;
use serde::Deserialize;
use std::{fs, path::Path};

#[derive(Deserialize)]
struct Annotation {
    size: Option<Size>,
    #[serde(default, rename = "object")]
    objects: Vec<VocObject>,
}

#[derive(Deserialize)]
struct Size {
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct VocObject {
    name: String,
    #[serde(default)]
    difficult: u8,
    bndbox: Corners,
}

/// The first and the last pixel of the box, counted from 1.
#[derive(Deserialize)]
struct Corners {
    xmin: f64,
    ymin: f64,
    xmax: f64,
    ymax: f64,
}

/// The objects of a file for an image of `size`.
pub(super) fn read(path: &Path, size: [u32; 2]) -> Result<Vec<Object>, DataError> {
    let wrong = |reason: String| DataError::Labels { path: path.into(), reason };
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    let annotation: Annotation = quick_xml::de::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if let Some(Size { width, height }) = annotation.size {
        // Some tools write zeros where they do not know.
        if width > 0 && [width, height] != size {
            return Err(wrong(format!("{width}x{height} pixels, the image has {}x{}", size[0], size[1])));
        }
    }
    let objects = annotation.objects.into_iter().enumerate();
    objects.map(|(index, o)| object(o).map_err(|e| wrong(format!("object {}: {e}", index + 1)))).collect()
}

fn object(VocObject { name, difficult, bndbox }: VocObject) -> Result<Object, String> {
    let Corners { xmin, ymin, xmax, ymax } = bndbox;
    let corners =
        [checked(xmin - 1.0, "xmin")?, checked(ymin - 1.0, "ymin")?, checked(xmax, "xmax")?, checked(ymax, "ymax")?];
    if xmax < xmin || ymax < ymin {
        return Err(format!("a box from {xmin}, {ymin} to {xmax}, {ymax}"));
    }
    Ok(Object { kind: name, bbox: BBox::from_corners(corners), ignored: difficult != 0, weight: 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "<?xml version=\"1.0\"?>
<annotation>
  <folder>VOC2007</folder><filename>000001.jpg</filename><source><database>x</database></source>
  <size><width>64</width><height>48</height><depth>3</depth></size><segmented>0</segmented>
  <object>
    <name>car</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
    <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>36.5</ymax></bndbox>
    <part><name>wheel</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
  </object>
  <object>
    <name>R&amp;B man</name><bndbox><xmax>4</xmax><xmin>1</xmin><ymin>1</ymin><ymax>8</ymax></bndbox><difficult>1</difficult>
  </object>
</annotation>";

    fn parse(text: &str) -> Result<Vec<Object>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.xml");
        fs::write(&path, text).unwrap();
        read(&path, [64, 48]).map_err(|e| e.to_string())
    }

    #[test]
    fn the_first_pixel_is_1_and_the_last_belongs_to_the_box() {
        let object = |kind: &str, corners, ignored| Object {
            kind: kind.into(),
            bbox: BBox::from_corners(corners),
            ignored,
            weight: 1.0,
        };
        assert_eq!(
            parse(GOOD).unwrap(),
            [object("car", [10.0, 20.0, 40.0, 36.5], false), object("R&B man", [0.0, 0.0, 4.0, 8.0], true)]
        );
        assert_eq!(parse("<annotation><filename>a</filename></annotation>").unwrap(), []);
    }

    #[test]
    fn a_broken_file_is_told() {
        for (good, bad, message) in [
            ("<xmax>40", "<xmax>9", "7.xml: object 1: a box from 11, 21 to 9, 36.5"),
            ("<xmin>11", "<xmin>nan", "object 1: xmin is NaN"),
            ("<xmin>11", "<xmin>left", "left"),
            ("<width>64", "<width>65", "65x48 pixels, the image has 64x48"),
            ("<name>car</name>", "", "name"),
            ("</annotation>", "", "7.xml"),
        ] {
            let error = parse(&GOOD.replacen(good, bad, 1)).expect_err(bad);
            assert!(error.contains(message), "{bad}: {error}");
        }
        assert_eq!(parse(&GOOD.replacen("<width>64", "<width>0", 1)).unwrap().len(), 2, "a size that is not known");
    }
}

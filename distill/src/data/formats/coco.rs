//! COCO's annotations of the object detection task: one JSON file for the whole set.

use super::{DataError, Entry, Object, checked};
use onebit_detector::{detection::BBox, frames::images};
use serde::Deserialize;
use std::{
    collections::HashMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

#[derive(Deserialize)]
struct Annotations {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: PathBuf,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    /// Left, top, width, height.
    bbox: [f64; 4],
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// The images of the file, in its order; those without annotations show no object.
pub(super) fn read(images: &Path, path: &Path) -> Result<Vec<Result<Entry, DataError>>, DataError> {
    let wrong = |reason: String| DataError::Labels { path: path.into(), reason };
    let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
    let set: Annotations = serde_json::from_reader(BufReader::new(file)).map_err(|e| wrong(e.to_string()))?;

    let names: HashMap<u64, &str> = set.categories.iter().map(|c| (c.id, c.name.as_str())).collect();
    let mut objects: HashMap<u64, Vec<Result<Object, String>>> = set.images.iter().map(|i| (i.id, Vec::new())).collect();
    for annotation in &set.annotations {
        let of_image = objects.get_mut(&annotation.image_id);
        let of_image =
            of_image.ok_or_else(|| wrong(format!("an annotation of image {}, which is not there", annotation.image_id)))?;
        of_image.push(object(annotation, &names));
    }
    let mut entry = |image: &Image| {
        let wrong = |reason: String| wrong(format!("image {} ({}): {reason}", image.id, image.file_name.display()));
        let file = images.join(&image.file_name);
        let size = images::size(&file)?;
        if size != [image.width, image.height] {
            return Err(wrong(format!("{}x{} pixels, the file has {}x{}", image.width, image.height, size[0], size[1])));
        }
        let objects = objects.remove(&image.id).ok_or_else(|| wrong("listed twice".into()))?;
        let objects = objects.into_iter().collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Entry { image: file, size, objects })
    };
    Ok(set.images.iter().map(&mut entry).collect())
}

fn object(annotation: &Annotation, names: &HashMap<u64, &str>) -> Result<Object, String> {
    let kind = names.get(&annotation.category_id);
    let kind = kind.ok_or_else(|| format!("category {} has no name", annotation.category_id))?;
    let [x, y, w, h] = annotation.bbox.map(|value| checked(value, "a number of 'bbox'"));
    let (x, y, w, h) = (x?, y?, w?, h?);
    if w < 0.0 || h < 0.0 {
        return Err(format!("a box of {w}x{h}"));
    }
    let bbox = BBox::from_corners([x, y, x + w, y + h]);
    Ok(Object { kind: (*kind).into(), bbox, ignored: annotation.iscrowd != 0, weight: 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::RgbImage;
    use std::fs;

    const GOOD: &str = r#"{"info": {}, "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person", "supercategory": ""}],
        "images": [{"id": 20, "file_name": "b.png", "width": 64, "height": 48, "license": 0},
                   {"id": 10, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 10, "category_id": 3, "bbox": [10, 20, 30, 16.5], "area": 1, "segmentation": []},
                        {"id": 2, "image_id": 10, "category_id": 1, "bbox": [0, 0, 4, 8], "iscrowd": 1}]}"#;

    fn parse(text: &str) -> Result<Vec<Result<Entry, String>>, String> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            RgbImage::new(64, 48).save(folder.path().join(name)).unwrap();
        }
        let path = folder.path().join("set.json");
        fs::write(&path, text).unwrap();
        let entries = read(folder.path(), &path).map_err(|e| e.to_string())?;
        Ok(entries.into_iter().map(|entry| entry.map_err(|e| e.to_string())).collect())
    }

    #[test]
    fn annotations_go_to_their_images() {
        let entries: Vec<_> = parse(GOOD).unwrap().into_iter().map(Result::unwrap).collect();
        assert!(entries[0].image.ends_with("b.png") && entries[0].objects.is_empty(), "an image without objects");
        let object = |kind: &str, bbox, ignored| Object { kind: kind.into(), bbox, ignored, weight: 1.0 };
        assert_eq!(
            entries[1].objects,
            [
                object("car", BBox { cx: 25.0, cy: 28.25, w: 30.0, h: 16.5 }, false),
                object("person", BBox { cx: 2.0, cy: 4.0, w: 4.0, h: 8.0 }, true)
            ]
        );
        assert_eq!(entries[1].size, [64, 48]);
    }

    #[test]
    fn a_broken_image_is_told_the_others_are_read() {
        for (good, bad, message) in [
            (r#""category_id": 3"#, r#""category_id": 4"#, "set.json: image 10 (a.png): category 4 has no name"),
            ("[10, 20, 30, 16.5]", "[10, 20, -30, 16.5]", "a box of -30x16.5"),
            ("[10, 20, 30, 16.5]", "[10, 20, 30, 1e300]", "a number of 'bbox' is 1e300"),
            (r#""a.png", "width": 64"#, r#""a.png", "width": 48"#, "48x48 pixels, the file has 64x48"),
            ("a.png", "c.png", "c.png"),
        ] {
            let entries = parse(&GOOD.replacen(good, bad, 1)).unwrap();
            assert!(entries[0].is_ok());
            let error = entries[1].as_ref().expect_err(bad);
            assert!(error.contains(message), "{bad}: {error}");
        }
    }

    #[test]
    fn a_broken_file_is_told() {
        for (good, bad, message) in [
            (r#""image_id": 10"#, r#""image_id": 11"#, "set.json: an annotation of image 11, which is not there"),
            (r#""bbox": [10, 20, 30, 16.5]"#, r#""bbox": [10, 20]"#, "line 4"),
            (r#""categories""#, r#""kinds""#, "categories"),
        ] {
            let error = parse(&GOOD.replacen(good, bad, 1)).expect_err(bad);
            assert!(error.contains(message), "{bad}: {error}");
        }
    }
}

//! Hand-worked pixels, values computed with NumPy, and properties.

use super::*;
use proptest::{collection::vec, prelude::*};

fn resampler(width: usize, height: usize) -> Resampler {
    Resampler::new(InputSize { width, height }, Preprocessing::default())
}

fn grey(pixels: &[u8], width: usize) -> ImageView<'_> {
    ImageView::new(pixels, width, pixels.len() / width, width, PixelFormat::Mono8).unwrap()
}

#[test]
fn two_pixels_become_four() {
    // Centres of the output at −¼, ¼, ¾ and 1¼ of the image: 0, ¼, ¾ and 1 of the way from one pixel to the other.
    let (picture, _) = resampler(4, 4).picture(&grey(&[0, 80, 160, 240], 2));
    let expected = [
        [0, 20, 60, 80], //
        [40, 60, 100, 120],
        [120, 140, 180, 200],
        [160, 180, 220, 240],
    ];
    for (y, row) in expected.iter().enumerate() {
        for (x, &value) in row.iter().enumerate() {
            assert_eq!(picture.get_pixel(x as u32, y as u32).0, [value; 3], "column {x}, row {y}");
        }
    }
}

#[test]
fn bars_are_filled() {
    let pixels = [7; 8 * 3];
    let (picture, place) = resampler(8, 8).picture(&grey(&pixels, 8));
    assert_eq!((place.scaled(), place.offset()), ((8, 3), (0, 2)));
    for (_, y, pixel) in picture.enumerate_pixels() {
        assert_eq!(pixel.0, if (2..5).contains(&y) { [7; 3] } else { [128; 3] }, "row {y}");
    }
}

#[test]
fn every_format_gives_the_same_picture() {
    let rgb: Vec<[u8; 3]> = (0..35u8).map(|i| [i * 7, 255 - i * 5, i * 3 + 20]).collect();
    let bytes = |pixel: fn([u8; 3]) -> Vec<u8>| -> Vec<u8> { rgb.iter().flat_map(|&p| pixel(p)).collect() };
    let picture = |bytes: &[u8], format: PixelFormat| {
        let view = ImageView::new(bytes, 7, 5, 7 * format.bytes(), format).unwrap();
        resampler(16, 16).picture(&view).0
    };
    let expected = picture(&bytes(|p| p.to_vec()), PixelFormat::Rgb8);
    assert_eq!(picture(&bytes(|[r, g, b]| vec![b, g, r]), PixelFormat::Bgr8), expected);
    assert_eq!(picture(&bytes(|[r, g, b]| vec![r, g, b, 99]), PixelFormat::Rgba8), expected);
    assert_eq!(picture(&bytes(|[r, g, b]| vec![b, g, r, 99]), PixelFormat::Bgra8), expected);

    let mono = picture(&bytes(|[r, ..]| vec![r]), PixelFormat::Mono8);
    let red_thrice = picture(&bytes(|[r, ..]| vec![r, r, r]), PixelFormat::Rgb8);
    assert_eq!(mono, red_thrice);
}

#[test]
fn padding_at_the_end_of_rows_is_not_read() {
    let padded = [1, 2, 3, 200, 4, 5, 6, 200, 7, 8, 9];
    let view = ImageView::new(&padded, 3, 3, 4, PixelFormat::Mono8).unwrap();
    let packed = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    assert_eq!(resampler(16, 16).picture(&view), resampler(16, 16).picture(&grey(&packed, 3)));
}

/// The picture of the values below: channel `c` of `(x, y)` is `37x + 91y + 53c + 7xy` modulo 256.
fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([0, 53, 106].map(|c| ((37 * x + 91 * y + c + 7 * x * y) % 256) as u8))
    })
}

/// Some pixels of a letterboxed [`pattern`] and the mean of each channel, computed with NumPy in double precision.
struct Expected {
    image: (u32, u32),
    input: (usize, usize),
    pixels: [((u32, u32), [f64; 3]); 4],
    mean: [f64; 3],
}

const EXPECTED: [Expected; 4] = [
    Expected {
        image: (7, 5),
        input: (16, 16),
        pixels: [
            ((0, 2), [0.0, 53.0, 106.0]),
            ((4, 6), [145.41, 124.23, 122.69]),
            ((12, 8), [123.85, 173.22, 90.94]),
            ((15, 12), [242.0, 39.0, 92.0]),
        ],
        mean: [129.6392, 130.9545, 131.7244],
    },
    Expected {
        image: (5, 9),
        input: (8, 12),
        pixels: [
            ((1, 0), [0.0, 53.0, 106.0]),
            ((2, 4), [80.47, 109.47, 154.47]),
            ((5, 7), [159.22, 156.22, 41.22]),
            ((6, 11), [76.0, 129.0, 182.0]),
        ],
        mean: [124.9167, 126.5278, 136.5],
    },
    Expected {
        image: (1242, 375),
        input: (416, 416),
        pixels: [
            ((0, 145), [134.68, 187.68, 240.68]),
            ((124, 195), [45.3, 98.3, 151.3]),
            ((320, 221), [141.63, 194.63, 88.25]),
            ((415, 269), [213.79, 12.63, 65.63]),
        ],
        mean: [128.0955, 127.7643, 127.6036],
    },
    Expected {
        image: (1920, 1080),
        input: (416, 128),
        pixels: [
            ((94, 0), [133.45, 133.96, 167.45]),
            ((162, 51), [16.12, 69.12, 122.12]),
            ((268, 78), [119.18, 154.3, 185.18]),
            ((320, 127), [128.67, 131.82, 165.31]),
        ],
        mean: [128.3041, 127.472, 127.345],
    },
];

#[test]
fn pixels_equal_an_independent_computation() {
    for Expected { image, input, pixels, mean } in EXPECTED {
        let source = pattern(image.0, image.1);
        let (picture, _) = resampler(input.0, input.1).picture(&ImageView::from_rgb(&source).unwrap());
        for ((x, y), expected) in pixels {
            let found = picture.get_pixel(x, y).0;
            let close = |(f, e): (u8, f64)| (f64::from(f) - e).abs() <= 1.5;
            assert!(found.into_iter().zip(expected).all(close), "{image:?} ({x}, {y}): {found:?}, expected {expected:?}");
        }
        for (c, expected) in mean.into_iter().enumerate() {
            let sum: f64 = picture.pixels().map(|p| f64::from(p.0[c])).sum();
            let found = sum / (input.0 * input.1) as f64;
            assert!((found - expected).abs() < 0.2, "{image:?}, channel {c}: mean {found}, expected {expected}");
        }
    }
}

#[test]
fn images_of_changing_size_do_not_leave_traces() {
    let mut used = resampler(64, 48);
    for (w, h) in [(30, 90), (90, 30), (64, 48), (30, 90)] {
        let source = pattern(w, h);
        let view = ImageView::from_rgb(&source).unwrap();
        assert_eq!(used.picture(&view), resampler(64, 48).picture(&view), "{w}x{h}");
    }
}

proptest! {
    #[test]
    fn an_image_of_the_inputs_size_stays_as_it_is(
        (pixels, width) in (1usize..20, 1usize..20).prop_flat_map(|(w, h)| (vec(any::<u8>(), 3 * w * h), Just(w))),
    ) {
        let height = pixels.len() / (3 * width);
        let view = ImageView::new(&pixels, width, height, 3 * width, PixelFormat::Rgb8).unwrap();
        prop_assert_eq!(resampler(width, height).picture(&view).0.into_raw(), pixels);
    }

    #[test]
    fn one_colour_stays_one_colour(
        (w, h) in (1u32..60, 1u32..60), (width, height) in (1usize..60, 1usize..60), colour in any::<[u8; 3]>(),
    ) {
        let source = RgbImage::from_pixel(w, h, image::Rgb(colour));
        let (picture, place) = resampler(width, height).picture(&ImageView::from_rgb(&source).unwrap());
        let ((sw, sh), (left, top)) = (place.scaled(), place.offset());
        for (x, y, pixel) in picture.enumerate_pixels() {
            let inside = (left..left + sw).contains(&(x as usize)) && (top..top + sh).contains(&(y as usize));
            prop_assert_eq!(pixel.0, if inside { colour } else { [128; 3] });
        }
    }

    #[test]
    fn values_stay_between_those_of_the_image(pixels in vec(any::<u8>(), 12), side in 1usize..40) {
        let (picture, place) = resampler(side, side).picture(&grey(&pixels, 4));
        let (lowest, highest) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
        let rows = place.offset().1..place.offset().1 + place.scaled().1;
        for pixel in picture.rows().enumerate().filter(|(y, _)| rows.contains(y)).flat_map(|(_, row)| row) {
            prop_assert!((lowest..=highest).contains(&&pixel.0[0]));
        }
    }
}

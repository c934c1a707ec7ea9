use super::*;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use proptest::{collection::vec, prelude::*};
use std::io::Cursor;

fn raw(encoding: &str, width: u32, height: u32, step: u32, data: &[u8]) -> Frame {
    let encoding = encoding.into();
    Frame::Raw(Image { width, height, step, encoding, data: data.to_vec(), ..Default::default() })
}

/// Red, green and blue of every pixel, row after row.
fn colours(frame: &Frame) -> Vec<[u8; 3]> {
    let mut camera = Camera::default();
    let view = camera.view(frame).unwrap();
    let offsets = view.format().rgb_offsets();
    let rows = (0..view.height()).flat_map(|y| view.row(y).chunks_exact(view.format().bytes()));
    rows.map(|pixel| offsets.map(|offset| pixel[offset])).collect()
}

fn error(frame: &Frame) -> String {
    Camera::default().view(frame).unwrap_err().to_string()
}

#[test]
fn direct_encodings_are_not_copied() {
    for (encoding, format) in [
        ("rgb8", PixelFormat::Rgb8),
        ("bgr8", PixelFormat::Bgr8),
        ("rgba8", PixelFormat::Rgba8),
        ("bgra8", PixelFormat::Bgra8),
        ("mono8", PixelFormat::Mono8),
    ] {
        // Two rows of one pixel, padded to five bytes.
        let frame = raw(encoding, 1, 2, 5, &[1, 2, 3, 4, 0, 5, 6, 7, 8, 0]);
        let Frame::Raw(image) = &frame else { unreachable!() };
        let mut camera = Camera::default();
        let view = camera.view(&frame).unwrap();
        assert_eq!((view.width(), view.height(), view.format()), (1, 2, format), "{encoding}");
        assert!(std::ptr::eq(view.row(1), &image.data[5..5 + format.bytes()]), "{encoding}");
    }
}

#[test]
fn yuv_gives_the_colours_of_bt601() {
    // Black and white without colour; then red, Y 81, U 90, V 240:
    //   R = 1.164·65 + 1.596·112 = 254.4, G = 75.7 − 0.813·112 + 0.391·38 = −0.5, B = 75.7 − 2.018·38 = −1.0;
    // and beside it Y 16, for which R = 1.596·112 = 178.7 and the others are below 0.
    let yuyv = [16, 128, 235, 128, 81, 90, 16, 240];
    let uyvy = [128, 16, 128, 235, 90, 81, 240, 16];
    let expected = [[0, 0, 0], [255, 255, 255], [254, 0, 0], [179, 0, 0]];
    for (encodings, data) in [(["yuyv", "yuv422_yuy2"], yuyv), (["uyvy", "yuv422"], uyvy)] {
        for encoding in encodings {
            assert_eq!(colours(&raw(encoding, 4, 1, 8, &data)), expected, "{encoding}");
            // The same pairs below each other, with two bytes of padding.
            let rows = [&data[..4], &[77, 77], &data[4..]].concat();
            assert_eq!(colours(&raw(encoding, 2, 2, 6, &rows)), expected, "{encoding}");
        }
    }
}

#[test]
fn bayer_takes_the_mean_of_the_neighbours() {
    #[rustfmt::skip]
    let mosaic = [
        10, 20, 30,
        40, 50, 60,
        70, 81, 90,
    ];
    // In rggb: R G R / G B G / R G R. The corner is red; mirrored about it, green is 20 and 40 twice, blue 50.
    let expected = [
        [[10, 30, 50], [20, 20, 50], [30, 40, 50]],
        [[40, 40, 50], [50, 50, 50], [60, 60, 50]],
        [[70, 61, 50], [80, 81, 50], [90, 71, 50]],
    ];
    assert_eq!(colours(&raw("bayer_rggb8", 3, 3, 3, &mosaic)), expected.concat());
    // bggr has red and blue exchanged.
    let swapped = expected.concat().into_iter().map(|[r, g, b]| [b, g, r]).collect::<Vec<_>>();
    assert_eq!(colours(&raw("bayer_bggr8", 3, 3, 3, &mosaic)), swapped);
    // grbg: G R G / B G B / G R G. In the middle green 50, red (20 + 81) / 2 = 50.5, blue (40 + 60) / 2.
    assert_eq!(colours(&raw("bayer_grbg8", 3, 3, 3, &mosaic))[4], [51, 50, 50]);
    // gbrg: G B G / R G R / G B G.
    assert_eq!(colours(&raw("bayer_gbrg8", 3, 3, 3, &mosaic))[4], [50, 50, 51]);
    // The pixel right of the corner in grbg is red 20: green (10 + 30 + 50 + 50) / 4, blue (40 + 60) / 2.
    assert_eq!(colours(&raw("bayer_grbg8", 3, 3, 3, &mosaic))[1], [20, 35, 50]);
}

#[test]
fn a_plain_colour_survives_every_bayer_pattern() {
    let [red, green, blue] = [200, 100, 50];
    for (encoding, tile) in [
        ("bayer_rggb8", [[red, green], [green, blue]]),
        ("bayer_grbg8", [[green, red], [blue, green]]),
        ("bayer_gbrg8", [[green, blue], [red, green]]),
        ("bayer_bggr8", [[blue, green], [green, red]]),
    ] {
        for (width, height) in [(2, 2), (5, 4), (4, 3)] {
            let data: Vec<u8> = (0..width * height).map(|i| tile[i / width % 2][i % width % 2]).collect();
            let frame = raw(encoding, width as u32, height as u32, width as u32, &data);
            assert_eq!(colours(&frame), vec![[red, green, blue]; width * height], "{encoding} {width}x{height}");
        }
    }
}

#[test]
fn messages_that_lie_are_refused_with_the_reason() {
    let cases = [
        (raw("rgb8", 4, 2, 12, &[0; 23]), "2 rows of 12 bytes take 24 bytes, the image has 23"),
        (raw("rgb8", 4, 2, 11, &[0; 24]), "a row of 4 pixels takes 12 bytes, the image's step is 11"),
        (raw("mono8", 0, 2, 0, &[]), "the image is empty: 0x2 pixels"),
        (raw("mono8", u32::MAX, u32::MAX, u32::MAX, &[0; 8]), "bytes, the image has 8"),
        (raw("yuyv", 4, 1, 7, &[0; 8]), "a row of 4 pixels takes 8 bytes, the image's step is 7"),
        (raw("yuyv", 4, 2, 8, &[0; 15]), "2 rows of 8 bytes take 16 bytes, the image has 15"),
        (raw("uyvy", 3, 1, 6, &[0; 6]), "an image of encoding 'uyvy' has an even width, this one is 3 pixels wide"),
        (raw("uyvy", 0, 0, 0, &[]), "the image is empty: 0x0 pixels"),
        (raw("bayer_rggb8", 1, 4, 1, &[0; 4]), "a bayer image has at least 2x2 pixels, this one has 1x4"),
        (raw("bayer_rggb8", 4, 4, 4, &[0; 15]), "4 rows of 4 bytes take 16 bytes, the image has 15"),
        (raw("rgb8", 4, 2, 12, &[0; 25]), "2 rows of 12 bytes are 24 bytes, the image has 25"),
        (raw("mono16", 2, 1, 4, &[0; 4]), "encoding 'mono16' is not among those that can be read: rgb8, bgr8, "),
        (raw("", 2, 1, 4, &[0; 4]), "encoding '' is not among"),
    ];
    for (frame, reason) in cases {
        let found = error(&frame);
        assert!(found.contains(reason), "{found}\nexpected: {reason}");
    }
    let Frame::Raw(mut image) = raw("mono8", 1, 1, 1, &[0]) else { unreachable!() };
    image.is_bigendian = 2;
    assert_eq!(error(&Frame::Raw(image)), "the image's is_bigendian is 2, 0 or 1 is possible");
}

fn compressed(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn frame(data: Vec<u8>) -> Frame {
    Frame::Compressed(CompressedImage { format: "rgb8; jpeg compressed bgr8".into(), data, ..Default::default() })
}

#[test]
fn png_is_decoded_exactly() {
    let rgb = RgbImage::from_fn(3, 2, |x, y| [10 * x as u8, 20 * y as u8, 255].into());
    let expected: Vec<_> = rgb.pixels().map(|pixel| pixel.0).collect();
    assert_eq!(colours(&frame(compressed(rgb.clone(), ImageFormat::Png))), expected);
    let rgba = RgbaImage::from_pixel(2, 1, [1, 2, 3, 4].into());
    assert_eq!(colours(&frame(compressed(rgba, ImageFormat::Png))), [[1, 2, 3]; 2]);
    let grey = GrayImage::from_pixel(1, 2, [9].into());
    assert_eq!(colours(&frame(compressed(grey, ImageFormat::Png))), [[9, 9, 9]; 2]);
}

#[test]
fn jpeg_is_decoded_closely() {
    let image = RgbImage::from_pixel(32, 16, [200, 100, 50].into());
    let found = colours(&frame(compressed(image, ImageFormat::Jpeg)));
    assert_eq!(found.len(), 32 * 16);
    for pixel in found {
        assert!(pixel.into_iter().zip([200, 100, 50]).all(|(a, b)| u8::abs_diff(a, b) <= 4), "{pixel:?}");
    }
}

#[test]
fn broken_compressed_images_are_refused() {
    let image = RgbImage::from_fn(64, 64, |x, y| [(x * y) as u8, x as u8, y as u8].into());
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let mut bytes = compressed(image.clone(), format);
        bytes.truncate(bytes.len() / 2);
        let found = error(&frame(bytes));
        assert!(found.starts_with("the compressed image cannot be decoded"), "{format:?}: {found}");
    }
    assert!(error(&frame(vec![])).starts_with("the compressed image cannot be decoded"));
    assert!(error(&frame(b"GIF89a".to_vec())).starts_with("the compressed image cannot be decoded"));
    let deep = DynamicImage::new_rgb16(2, 2);
    assert!(error(&frame(compressed(deep, ImageFormat::Png))).contains("pixels are Rgb16"));
}

#[test]
fn an_image_that_announces_billions_of_pixels_is_refused_before_it_is_decoded() {
    // A JPEG's frame header has height and width after its marker, length and precision.
    let mut bytes = compressed(RgbImage::new(8, 8), ImageFormat::Jpeg);
    let marker = bytes.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    bytes[marker + 5..marker + 9].fill(0xff);
    assert_eq!(error(&frame(bytes)), "the compressed image has 65535x65535 pixels, at most 67108864 are possible");
}

proptest! {
    /// Whatever a message says, it is an image or an error, never a panic.
    #[test]
    fn no_message_panics(
        encoding in 0..ENCODINGS.len(), width in 0u32..9, height in 0u32..9, step in 0u32..40, data in vec(any::<u8>(), 0..300),
    ) {
        let _ = Camera::default().view(&raw(ENCODINGS[encoding].0, width, height, step, &data));
    }

    #[test]
    fn no_bytes_panic_the_decoders(mut data in vec(any::<u8>(), 0..300), start in 0..3usize) {
        data.splice(0..0, [&b"\xff\xd8\xff\xe0"[..], b"\x89PNG\r\n\x1a\n", b""][start].iter().copied());
        let _ = Camera::default().view(&frame(data));
    }
}

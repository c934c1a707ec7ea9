"""What comes back for images of every encoding, and for images that lie."""

import json

import numpy as np
import pytest
from conftest import CLASSES, ROOT
from peer import boxes, compressed_image, counts, raw_image
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage

FRAME = sorted((ROOT / "demo" / "frames").glob("*.jpg"))[0]


@pytest.fixture(scope="module")
def picture():
    """A driving frame, small."""
    return Picture.open(FRAME).convert("RGB").resize((320, 180))


@pytest.fixture(scope="module")
def pixels(picture):
    return np.asarray(picture)


@pytest.fixture
def expected(node, peer, pixels):
    """What the node finds in the picture as rgb8."""
    found = boxes(peer.ask(raw_image(pixels)))
    assert len(found) > 3, "the picture gives the tests nothing to compare"
    return found


def test_header_is_passed_on_untouched(node, peer, pixels):
    message = raw_image(pixels)
    stamp = peer.send(message, frame_id="front left/optical Ω")
    assert peer.spin_until(lambda: peer.answers(stamp))
    (answer,) = peer.answers(stamp)
    assert answer.header == message.header
    assert answer.detections
    assert all(detection.header == message.header for detection in answer.detections)


def test_detections_are_those_of_the_command_line(node, peer, picture, pixels, onebit, model, tmp_path):
    file = tmp_path / "frame.png"
    picture.save(file)
    report = json.loads(onebit("detect", model, file, "--score", 0.25, "--format", "json"))
    found = boxes(peer.ask(raw_image(pixels)))
    assert [box[0] for box in found] == [detection["class"] for detection in report["detections"]]
    assert {box[0] for box in found} <= set(CLASSES)
    for (_, score, x, y, w, h), detection in zip(found, report["detections"]):
        assert score == pytest.approx(detection["score"], abs=1e-6)
        assert [x - w / 2, y - h / 2, x + w / 2, y + h / 2] == pytest.approx(detection["corners"], abs=1e-3)


def test_message_fields(node, peer, pixels):
    answer = peer.ask(raw_image(pixels))
    for detection in answer.detections:
        assert len(detection.results) == 1
        assert 0.25 <= detection.results[0].hypothesis.score <= 1
        assert detection.bbox.center.theta == 0
        assert detection.bbox.size_x > 0 and detection.bbox.size_y > 0
    scores = [box[1] for box in boxes(answer)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("encoding, channels", [("rgb8", "RGB"), ("bgr8", "BGR"), ("rgba8", "RGBA"), ("bgra8", "BGRA")])
@pytest.mark.parametrize("padding", [0, 7])
def test_colour_orders(node, peer, pixels, expected, encoding, channels, padding):
    alpha = np.full(pixels.shape[:2], 85, np.uint8)
    planes = {"R": pixels[..., 0], "G": pixels[..., 1], "B": pixels[..., 2], "A": alpha}
    message = raw_image(np.stack([planes[name] for name in channels], axis=-1), encoding, padding)
    assert boxes(peer.ask(message)) == expected


def test_grey(node, peer, picture):
    grey = np.asarray(picture.convert("L"))
    as_rgb = boxes(peer.ask(raw_image(np.stack([grey] * 3, axis=-1))))
    assert as_rgb and boxes(peer.ask(raw_image(grey[..., None], "mono8"))) == as_rgb


@pytest.mark.parametrize("encoding, order", [("yuv422", "UYVY"), ("uyvy", "UYVY"), ("yuv422_yuy2", "YUYV"), ("yuyv", "YUYV")])
def test_yuv(node, peer, picture, encoding, order):
    y, u, v = (np.asarray(plane).astype(int) for plane in picture.convert("YCbCr").split())
    y = 16 + y * 219 // 255  # what a camera sends: video range
    u, v = u[:, ::2], v[:, ::2]
    planes = {"U": [u], "V": [v], "Y": [y[:, ::2], y[:, 1::2]]}
    bytes_of_pairs = [planes[name].pop(0) for name in order]
    pairs = np.stack(bytes_of_pairs, axis=-1).reshape(*y.shape, 2)
    # BT.601, video range, with OpenCV's coefficients to 20 binary digits; a colour is shared by two pixels.
    to_luma, red_v, green_u, green_v, blue_u = np.floor(np.array([1.164, 1.596, 0.391, 0.813, 2.018]) * 2**20) / 2**20
    luma, u, v = to_luma * (y - 16), u.repeat(2, axis=1) - 128, v.repeat(2, axis=1) - 128
    colours = [luma + red_v * v, luma - green_u * u - green_v * v, luma + blue_u * u]
    rgb = np.clip(np.floor(np.stack(colours, axis=-1) + 0.5), 0, 255).astype(np.uint8)
    found = boxes(peer.ask(raw_image(rgb)))
    assert found and boxes(peer.ask(raw_image(pairs, encoding))) == found


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(node, peer, pixels, pattern):
    mosaic = np.empty(pixels.shape[:2], np.uint8)
    known = np.zeros(pixels.shape)
    for index, colour in enumerate(pattern):
        row, column, channel = index // 2, index % 2, "rgb".index(colour)
        mosaic[row::2, column::2] = pixels[row::2, column::2, channel]
        known[row::2, column::2, channel] = 1
    # Bilinear: each missing colour is the mean of the nearest pixels that have it, those beyond the edge mirrored.
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    values, weights = spread(pixels * known, kernel), spread(known, kernel)
    own = known.astype(bool)
    rgb = np.where(own, pixels, np.floor(values / weights + 0.5)).astype(np.uint8)
    found = boxes(peer.ask(raw_image(rgb)))
    assert found and boxes(peer.ask(raw_image(mosaic[..., None], f"bayer_{pattern}8"))) == found


def spread(planes, kernel):
    """Each plane convolved with a symmetric 3x3 kernel, mirrored at the edges."""
    height, width = planes.shape[:2]
    padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    windows = [kernel[y, x] * padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return sum(windows)


def test_nothing_seen_is_an_empty_array(start, peer, pixels):
    start(("score_threshold", 1.0))
    answer = peer.ask(raw_image(pixels))
    assert answer.detections == []
    assert answer.header.frame_id == "camera"


def test_image_of_another_size(node, peer, picture):
    """Boxes are in pixels of the image: twice the size, twice the boxes (but for the resampling)."""
    large = np.asarray(picture.resize((640, 360), Picture.Resampling.BICUBIC))
    for _, _, x, y, w, h in boxes(peer.ask(raw_image(large))):
        assert 0 <= x - w / 2 + 1e-3 and x + w / 2 <= 640 + 1e-3
        assert 0 <= y - h / 2 + 1e-3 and y + h / 2 <= 360 + 1e-3
    assert max(x for _, _, x, *_ in boxes(peer.ask(raw_image(large)))) > 320


def lie(pixels, **fields):
    message = raw_image(pixels)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


LIES = {
    "lower than its bytes": dict(height=179),
    "taller than its bytes": dict(height=181),
    "wider than its step": dict(width=321),
    "step of nothing": dict(step=0),
    "step beyond its bytes": dict(step=2**32 - 1),
    "no rows": dict(height=0),
    "no columns": dict(width=0),
    "huge": dict(height=2**32 - 1, width=2**32 - 1, step=2**32 - 1),
    "no bytes": dict(data=[]),
    "unknown encoding": dict(encoding="rgb16"),
    "no encoding": dict(encoding=""),
    "larger pixels than its bytes": dict(encoding="rgba8"),
    "byte order that is no truth value": dict(is_bigendian=7),
}


@pytest.mark.parametrize("name", LIES)
def test_image_that_lies_is_skipped_and_the_node_lives(node, peer, pixels, expected, name):
    stamp = peer.send(lie(pixels, **LIES[name]))
    peer.spin_for(0.1)  # a newer image would take its place
    assert boxes(peer.ask(raw_image(pixels))) == expected
    assert peer.answers(stamp) == []


def test_errors_about_images_are_throttled(start, peer, pixels):
    node = start()
    for _ in range(100):
        peer.send(lie(pixels, encoding="rgb16"))
        peer.spin_for(0.02)
    assert node.stop() == 0
    complaints = [line for line in node.output().splitlines() if "rgb16" in line]
    assert 2 <= len(complaints) <= 4, complaints
    assert "more" in complaints[-1]
    assert "rgb8" in complaints[0], "the message says what would be right"
    assert counts(node)["refused"] > 50


class TestCompressed:
    @pytest.fixture
    def compressed_node(self, stage, command):
        return stage.reuse(command(("score_threshold", 0.25), ("image_transport", "compressed")), "compressed")

    def test_png(self, compressed_node, peer, picture, onebit, model, tmp_path):
        picture.save(tmp_path / "frame.png")
        self.same_as_the_file(peer.ask(compressed_image(picture, "png")), tmp_path / "frame.png", onebit, model)

    def test_jpeg(self, compressed_node, peer, picture, onebit, model, tmp_path):
        picture.save(tmp_path / "frame.jpg", quality=90)
        message = compressed_image(picture, "jpeg", quality=90)
        message.format = "rgb8; jpeg compressed bgr8"  # as image_transport writes it
        self.same_as_the_file(peer.ask(message), tmp_path / "frame.jpg", onebit, model)

    def test_grey_jpeg(self, compressed_node, peer, picture, onebit, model, tmp_path):
        picture.convert("L").save(tmp_path / "frame.jpg", quality=90)
        message = compressed_image(picture.convert("L"), "jpeg", quality=90)
        self.same_as_the_file(peer.ask(message), tmp_path / "frame.jpg", onebit, model)

    @staticmethod
    def same_as_the_file(answer, file, onebit, model):
        report = json.loads(onebit("detect", model, file, "--score", 0.25, "--format", "json"))
        assert len(report["detections"]) > 3
        assert [(box[0], pytest.approx(box[1], abs=1e-6)) for box in boxes(answer)] == [
            (detection["class"], detection["score"]) for detection in report["detections"]
        ]

    def test_broken_data_is_skipped_and_the_node_lives(self, compressed_node, peer, picture):
        good = bytes(compressed_image(picture, "jpeg").data)
        png = bytes(compressed_image(picture, "png").data)
        broken = [b"", b"no picture at all", good[: len(good) // 2], good[:20], png[: len(png) // 2], b"\xff\xd8\xff" * 50]
        stamps = []
        for data in broken:
            stamps.append(peer.send(CompressedImage(format="jpeg", data=data)))
            assert peer.ask(compressed_image(picture, "png")).detections
        assert all(peer.answers(stamp) == [] for stamp in stamps)

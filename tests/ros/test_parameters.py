"""Parameters: from files and the command line at the start, through services while the node runs."""

import numpy as np
import pytest
import yaml
from conftest import ROOT
from peer import boxes, raw_image
from PIL import Image as Picture

CONFIGURATIONS = sorted((ROOT / "config").glob("*.yaml"))
BUILT_IN = {"use_sim_time"}
LIVE = {"score_threshold": 0.3, "class_thresholds": [0.3, 0.4, 0.35], "nms_iou": 0.6, "max_detections": 7}
START_ONLY = {
    "model.path": "/another.safetensors",
    "model.mode": "f32",
    "model.kernel": "another",
    "threads": 1,
    "image_transport": "compressed",
    "qos.reliability": "reliable",
    "qos.depth": 3,
    "qos.durability": "transient_local",
}
WRONG = [
    ("model.path", "/no/such/model.safetensors", "/no/such/model.safetensors"),
    ("model.mode", "int4", "int8"),
    ("model.kernel", "no_such_kernel", "portable"),
    ("threads", -1, "256"),
    ("threads", 100000, "256"),
    ("threads", "many", "256"),
    ("score_threshold", 1.5, "1.0"),
    ("score_threshold", "high", "1.0"),
    ("class_thresholds", "[0.5, 0.5]", "3"),
    ("class_thresholds", "[0.5, 0.5, 1.5]", "1.0"),
    ("nms_iou", -0.1, "0.0"),
    ("max_detections", 0, "1"),
    ("image_transport", "theora", "raw"),
    ("qos.reliability", "perhaps", "best_effort"),
    ("qos.depth", 0, "1"),
    ("qos.durability", "forever", "volatile"),
]


@pytest.fixture(scope="module")
def image():
    frame = sorted((ROOT / "demo" / "frames").glob("*.jpg"))[0]
    return raw_image(np.asarray(Picture.open(frame).convert("RGB").resize((320, 180))))


def flat(tree, prefix=""):
    """`{"a.b": 1}` of `{"a": {"b": 1}}`."""
    leaves = {}
    for key, value in tree.items():
        leaves.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return leaves


def declared(file):
    return flat(yaml.safe_load(file.read_text())["/**"]["ros__parameters"])


def test_there_are_configurations():
    assert CONFIGURATIONS


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_configuration_starts_the_node_and_its_values_arrive(start, peer, model, file):
    process = start(params=file)
    values = {**declared(file), "model.path": str(model)}
    assert peer.get_parameters(list(values)) == values
    assert set(peer.list_parameters()) - BUILT_IN == set(values), "the file has every parameter"
    assert "WARN" not in process.output()


def test_a_file_that_changes_values(start, peer, tmp_path, image):
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    score_threshold: 0.3\n    qos: {reliability: reliable, depth: 4}\n    threads: 1\n")
    start(params=file)
    wanted = {"score_threshold": 0.3, "qos.reliability": "reliable", "qos.depth": 4, "threads": 1}
    assert peer.get_parameters(list(wanted)) == wanted
    found = boxes(peer.ask(image))
    assert found and min(box[1] for box in found) >= 0.3


@pytest.mark.parametrize("name, value, right", WRONG, ids=lambda value: str(value))
def test_a_wrong_value_refuses_the_start(refused, name, value, right):
    output = refused("-p", f"{name}:={value}")
    assert name in output
    assert right in output, "the message says what would be right"


def test_a_file_that_is_no_yaml_refuses_the_start(refused, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("/**:\n  ros__parameters:\n   - : [\n")
    assert str(file) in refused("--params-file", str(file))


def test_a_file_that_is_not_there_refuses_the_start(refused):
    assert "/no/such.yaml" in refused("--params-file", "/no/such.yaml")


def test_a_file_that_is_no_model_refuses_the_start(refused):
    file = ROOT / "package.xml"
    output = refused("-p", f"model.path:={file}")
    assert "model.path" in output and str(file) in output


def test_an_unknown_name_is_reported_with_the_nearest_one(start, peer):
    process = start(("score_treshold", 0.9), ("model.pth", "x"))
    for name, nearest in [("score_treshold", "score_threshold"), ("model.pth", "model.path")]:
        (line,) = [line for line in process.output().splitlines() if name in line]
        assert nearest in line
    assert not {"score_treshold", "model.pth"} & set(peer.list_parameters())


def test_every_parameter_is_described(node, peer):
    names = peer.list_parameters()
    assert set(names) - BUILT_IN == set(LIVE) | set(START_ONLY)
    for descriptor in peer.describe_parameters([name for name in names if name not in BUILT_IN]):
        assert len(descriptor.description) > 20, descriptor.name


@pytest.mark.parametrize("name", LIVE)
def test_thresholds_can_be_set_while_the_node_runs(start, peer, name):
    start()
    result = peer.set_parameter(name, LIVE[name])
    assert result.successful, result.reason
    assert peer.get_parameters([name]) == {name: LIVE[name]}


def test_thresholds_take_effect(start, peer, image):
    start(("score_threshold", 0.3))
    before = boxes(peer.ask(image))
    middle = sorted(box[1] for box in before)[len(before) // 2]
    assert peer.set_parameter("score_threshold", middle).successful
    after = boxes(peer.ask(image))
    assert after == [box for box in before if box[1] >= middle]
    assert 0 < len(after) < len(before)
    assert peer.set_parameter("max_detections", 2).successful
    assert boxes(peer.ask(image)) == after[:2]
    # In the order of the model's classes: only cars.
    assert peer.set_parameter("max_detections", 100).successful
    assert peer.set_parameter("class_thresholds", [0.3, 1.0, 1.0]).successful
    assert boxes(peer.ask(image)) == [box for box in before if box[0] == "car"]


@pytest.mark.parametrize("name", START_ONLY)
def test_what_is_read_at_the_start_cannot_be_set_later(node, peer, name):
    before = peer.get_parameters([name])
    result = peer.set_parameter(name, START_ONLY[name])
    assert not result.successful
    assert name in result.reason and "start" in result.reason
    assert peer.get_parameters([name]) == before


@pytest.mark.parametrize(
    "name, value", [("score_threshold", 1.5), ("score_threshold", "high"), ("class_thresholds", [0.5]), ("max_detections", 0)]
)
def test_a_wrong_value_is_refused_while_the_node_runs(node, peer, image, name, value):
    before = peer.get_parameters([name])
    result = peer.set_parameter(name, value)
    assert not result.successful
    assert name in result.reason
    assert peer.get_parameters([name]) == before
    assert peer.ask(image)


def test_an_unknown_name_cannot_be_set(node, peer):
    result = peer.set_parameter("score_treshold", 0.5)
    assert not result.successful
    assert "score_threshold" in result.reason

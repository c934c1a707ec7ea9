"""Parameters: from files and the command line at the start, through services while the node runs."""

import numpy as np
import pytest
import yaml
from conftest import ROOT
from peer import boxes, raw_image
from PIL import Image as Picture
from rcl_interfaces.msg import ParameterType

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
UNIT = (0.0, 1.0)
RANGES = {
    "threads": (0, 256),
    "score_threshold": UNIT,
    "class_thresholds": UNIT,
    "nms_iou": UNIT,
    "max_detections": (1, 1000),
    "qos.depth": (1, 1000),
}
TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    list: ParameterType.PARAMETER_DOUBLE_ARRAY,
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


def test_a_value_of_another_type_than_the_file_s_refuses_the_start(refused):
    file = ROOT / "config" / "detector.yaml"
    for value in ["many", "2.0"]:
        output = refused("--params-file", str(file), "-p", f"threads:={value}")
        assert "threads must be an integer from 0 to 256" in output


def test_every_parameter_is_described(node, peer):
    values = {**LIVE, **START_ONLY, "use_sim_time": False}
    assert set(peer.list_parameters()) == set(values)
    descriptors = {descriptor.name: descriptor for descriptor in peer.describe_parameters(list(values))}
    assert list(descriptors) == list(values)
    for name, descriptor in descriptors.items():
        assert len(descriptor.description) > 20, name
        assert descriptor.type == TYPES[type(values[name])], name
        assert descriptor.read_only == (name in START_ONLY), name
        assert not descriptor.dynamic_typing, name
    assert peer.get_parameter_types(list(values)) == [descriptor.type for descriptor in descriptors.values()]


def test_descriptors_have_ranges_and_choices(node, peer):
    found = {}
    for descriptor in peer.describe_parameters([*LIVE, *START_ONLY]):
        for bounds in [*descriptor.floating_point_range, *descriptor.integer_range]:
            found[descriptor.name] = (bounds.from_value, bounds.to_value)
            whole = isinstance(bounds.from_value, int)
            assert bounds.step == (1 if whole else 0.0), descriptor.name
            # A list is a list of numbers.
            assert whole == (descriptor.type == ParameterType.PARAMETER_INTEGER), descriptor.name
    assert found == RANGES
    for name, choices in [("model.mode", ["int8", "f32"]), ("qos.reliability", ["best_effort", "reliable"])]:
        (descriptor,) = peer.describe_parameters([name])
        assert all(choice in descriptor.additional_constraints for choice in choices), name


def test_the_ends_of_a_range_can_be_set_and_nothing_beyond(start, peer):
    start()
    for name in ["nms_iou", "max_detections"]:
        low, high = RANGES[name]
        step = 1 if isinstance(low, int) else 0.001
        for value, possible in [(low, True), (high, True), (low - step, False), (high + step, False)]:
            result = peer.set_parameter(name, value)
            assert result.successful == possible, (name, value)
            if not possible:
                assert f"{name} must be" in result.reason and f"from {low} to {high}" in result.reason


def test_several_are_set_together_or_not_at_all(start, peer):
    start(("nms_iou", 0.4), ("max_detections", 50))
    before = {"nms_iou": 0.4, "max_detections": 50}
    result = peer.set_parameters_atomically({"nms_iou": 0.5, "max_detections": 0})
    assert not result.successful and "max_detections" in result.reason
    assert peer.get_parameters(list(before)) == before
    after = {"nms_iou": 0.5, "max_detections": 10}
    assert peer.set_parameters_atomically(after).successful
    assert peer.get_parameters(list(after)) == after


def test_changes_are_told(start, peer):
    process = start(("nms_iou", 0.4))
    peer.events.clear()
    assert not peer.set_parameter("nms_iou", 1.5).successful
    assert peer.set_parameter("nms_iou", 0.4).successful, "no change"
    assert peer.set_parameter("nms_iou", 0.7).successful
    assert peer.spin_until(lambda: peer.events)
    (event,) = peer.events
    assert [(changed.name, changed.value.double_value) for changed in event.changed_parameters] == [("nms_iou", 0.7)]
    assert not event.new_parameters and not event.deleted_parameters and event.stamp.sec > 0
    assert peer.spin_until(lambda: "parameter nms_iou is now 0.7" in process.output(), 2)


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

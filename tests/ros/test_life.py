"""Start, load, and end of the node."""

import json
import signal
import time

import numpy as np
import pytest
from conftest import RunningNode
from peer import boxes, counts, raw_image
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


@pytest.fixture(scope="module")
def image():
    return raw_image(np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8))


def test_the_start_tells_which_model_runs(start, onebit, model):
    process = start(("model.kernel", "portable"))
    facts = json.loads(onebit("inspect", model, "--json"))
    (line,) = [line for line in process.output().splitlines() if facts["sha256"] in line]
    assert facts["network"] in line and "int8" in line and "kernel portable" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_an_idle_node(start, number):
    process = start()
    ends_within_a_second(process, number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_node_at_work(start, peer, image, slow_model, number):
    process = start(("model.path", slow_model))
    for _ in range(20):
        peer.send(image)
        peer.spin_for(0.02)
    ends_within_a_second(process, number)
    frames = counts(process)
    assert frames["received"] == frames["processed"] + frames["dropped"] + frames["refused"]


def ends_within_a_second(process, number):
    start = time.monotonic()
    assert process.stop(by=number) == 0, process.output()
    assert time.monotonic() - start < 1


def test_the_newest_frame_wins(start, peer, image, slow_model):
    """A camera faster than the detector: old frames are dropped and counted, the newest one is always answered."""
    process = start(("model.path", slow_model), ("model.kernel", "portable"), ("threads", 1), ("qos.reliability", "reliable"), ("qos.depth", 10))
    stamps = []
    for _ in range(60):
        stamps.append(peer.send(image))
        peer.spin_for(0.01)
    assert peer.spin_until(lambda: peer.answers(stamps[-1]), 20)
    answered = [array.header.stamp.sec for array in peer.arrays]
    assert answered == sorted(set(answered)), "in order, none twice"
    assert len(answered) < len(stamps)
    assert process.stop() == 0
    frames = counts(process)
    assert frames["processed"] == len(answered)
    assert frames["dropped"] > 0
    assert frames["received"] == frames["processed"] + frames["dropped"]


def test_an_idle_node_does_not_work(start, peer, image):
    """No busy waiting: CPU time stands still while no image comes."""
    process = start()
    assert boxes(peer.ask(image)) is not None
    time.sleep(0.3)
    before = cpu_seconds(process)
    time.sleep(2)
    assert cpu_seconds(process) - before < 0.2


def cpu_seconds(process):
    """User and system time so far, of all threads; Linux counts it in hundredths."""
    with open(f"/proc/{process.process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_remapping_and_namespace(command, peer, stage):
    """Topics and node name move as the launch arguments say."""
    stage.end()
    arguments = dict(name="eyes", namespace="/car", image="/front/image_raw", detections="/front/objects")
    process = RunningNode(command(**arguments))
    try:
        wanted = {"/front/image_raw", "/front/objects"}
        seen = lambda: wanted <= {name for name, _ in peer.get_topic_names_and_types()}
        assert peer.spin_until(seen, 20), process.output()
        assert peer.spin_until(lambda: ("eyes", "/car") in peer.get_node_names_and_namespaces())
        assert peer.count_subscribers("/front/image_raw") == 1 and peer.count_publishers("/front/objects") == 1
        assert process.stop() == 0
    finally:
        process.process.kill()
        process.process.wait()


def test_a_camera_that_is_not_heard_is_reported_once(start, peer, image):
    """A best-effort camera before a node that asks for reliability: nothing arrives, and the node says what it asks for."""
    process = start(("qos.reliability", "reliable"))
    unheard = peer.create_publisher(Image, "/image", QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT))
    lines = lambda word: [line for line in process.output().splitlines() if word in line]
    try:
        end = time.monotonic() + 20
        while not lines("no image for") and time.monotonic() < end:
            unheard.publish(image)
            peer.spin_for(0.1)
    finally:
        peer.destroy_publisher(unheard)
    (warning,) = lines("no image for")
    assert "reliability reliable" in warning and "durability volatile" in warning
    peer.ask(image)
    assert peer.spin_until(lambda: lines("images again"), 5)
    assert len(lines("no image for")) == 1


@pytest.mark.parametrize("driver", ["reliable", "best_effort"])
def test_quality_of_service_suits_every_driver(node, peer, image, driver):
    policy = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}[driver]
    camera = peer.create_publisher(Image, "/image", QoSProfile(depth=5, reliability=policy))
    try:
        assert peer.spin_until(camera.get_subscription_count)
        message = raw_image(np.zeros((90, 160, 3), np.uint8))
        message.header.frame_id = driver
        end = time.monotonic() + 10
        # Sent again and again: that the camera sees the subscription does not mean that the subscription sees the camera.
        while not any(array.header.frame_id == driver for array in peer.arrays):
            assert time.monotonic() < end, "no detections came back"
            camera.publish(message)
            peer.spin_for(0.1)
    finally:
        peer.destroy_publisher(camera)

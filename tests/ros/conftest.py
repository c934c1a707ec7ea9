"""Starts the real node, and is its peer: a camera and a listener, over the real middleware.

Needs the environment of scripts/env.sh and `ONEBIT_NODE`, the program detector_node. `make ros-tests` sets both.
"""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "demo"))
# Apart from other ROS programs, and other runs of these tests, on this machine.
os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))

import rclpy  # noqa: E402  after the domain is set
from detector_process import DetectorProcess, Launch  # noqa: E402
from peer import NODE, Peer  # noqa: E402

CLASSES = ["car", "pedestrian", "cyclist"]


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("ONEBIT_NODE")
    if not path or not Path(path).is_file():
        pytest.exit("ONEBIT_NODE must name the program detector_node; `make ros-tests` builds it and sets it", 2)
    return Path(path)


@pytest.fixture(scope="session")
def onebit(binary):
    """Runs the command line `onebit`, which lies beside the node; returns what it prints."""

    def run(*arguments):
        command = [str(binary.with_name("onebit")), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    return run


@pytest.fixture(scope="session")
def model(onebit, tmp_path_factory):
    """A small network with random weights: quick, and it finds plenty, whatever the picture."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    onebit("new", "darknet-yolo", "--width", "0.125", "--input", "320x192", "--classes", ",".join(CLASSES), "--seed", 7, "-o", path)
    return path


@pytest.fixture(scope="session")
def slow_model(onebit, tmp_path_factory):
    """A large one: slower than any camera in these tests."""
    path = tmp_path_factory.mktemp("model") / "large.safetensors"
    onebit("new", "darknet-yolo", "--input", "416x416", "--seed", 7, "-o", path)
    return path


@pytest.fixture(scope="session")
def peer():
    rclpy.init()
    peer = Peer()
    yield peer
    peer.destroy_node()
    rclpy.shutdown()


class RunningNode(DetectorProcess):
    """A node whose output is kept."""

    def __init__(self, command):
        self.lines = []
        super().__init__(command, output=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())

    def output(self):
        if not self.running():
            self.reader.join(5)
        return "\n".join(self.lines)

    def wait_for(self, text, seconds=10):
        end = time.monotonic() + seconds
        while text not in self.output():
            assert time.monotonic() < end, f"'{text}' was not logged:\n{self.output()}"
            time.sleep(0.02)


@pytest.fixture
def command(binary, model):
    """The launch file's command line, with the test's model and further parameters, as (name, value) pairs."""

    def build(*parameters):
        return Launch().command(binary, [("model.path", model), *parameters])

    return build


def run(command, peer, transport="raw"):
    """Runs a node until the test that uses it is over; it must then end well."""
    node = RunningNode(command)
    try:
        peer.connect(node, transport)
        yield node
        if node.running():
            assert node.stop() == 0, node.output()
        assert "panicked" not in node.output()
    finally:
        node.process.kill()
        node.process.wait()
        peer.wait_until_gone()


@pytest.fixture
def start(command, peer):
    """Starts a node with parameters and waits until it hears the peer and is heard."""
    running = []

    def begin(*parameters, transport="raw"):
        generator = run(command(*parameters), peer, transport)
        running.append(generator)
        return next(generator)

    yield begin
    for generator in running:
        next(generator, None)


@pytest.fixture(scope="module")
def node(binary, model, peer):
    """One node for all tests of a module that leave it as it is."""
    parameters = [("model.path", model), ("score_threshold", 0.25)]
    yield from run(Launch().command(binary, parameters), peer)


@pytest.fixture
def refused(command):
    """Starts a node that must refuse to start; returns what it says."""

    def begin(*arguments, parameters=()):
        result = subprocess.run([*command(*parameters), *arguments], capture_output=True, text=True, timeout=20)
        output = result.stdout + result.stderr
        assert result.returncode not in (0, -6, -11, 101), f"exit code {result.returncode}:\n{output}"
        assert "panicked" not in output
        return output

    return begin


__all__ = ["NODE"]

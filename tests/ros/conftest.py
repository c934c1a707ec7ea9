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
from peer import Peer  # noqa: E402

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
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.decode(errors="replace").rstrip())

    def output(self):
        if not self.running():
            self.reader.join(5)
        return "\n".join(self.lines)


class Stage:
    """At most one node runs at a time: all of them would answer the peer."""

    def __init__(self, peer):
        self.peer = peer
        self.running = None
        self.command = None

    def begin(self, command, transport="raw"):
        """Starts a node and waits until it hears the peer and is heard."""
        self.end()
        self.running = RunningNode(command)
        self.command = command
        self.peer.connect(self.running, transport)
        return self.running

    def reuse(self, command, transport="raw"):
        """The running node, if this very command started it; else a new one."""
        if self.running and self.running.running() and self.command == command:
            return self.running
        return self.begin(command, transport)

    def end(self):
        """Ends the node, which must end well."""
        node, self.running = self.running, None
        if node is None:
            return
        try:
            assert node.stop() == 0, node.output()
            assert "panicked" not in node.output()
        finally:
            node.process.kill()
            node.process.wait()
        self.peer.wait_until_gone()


@pytest.fixture(scope="session")
def stage(peer):
    stage = Stage(peer)
    yield stage
    stage.end()


@pytest.fixture
def command(binary, model):
    """The launch file's command line: its arguments, the test's model and further parameters, as (name, value) pairs."""

    def build(*parameters, **arguments):
        return Launch(**arguments).command(binary, [("model.path", model), *parameters])

    return build


@pytest.fixture
def node(stage, command):
    """A node for tests that leave it as it is."""
    return stage.reuse(command(("score_threshold", 0.25)))


@pytest.fixture
def start(stage, command):
    """Starts a node with parameters and launch arguments of the test's own."""
    yield lambda *parameters, **arguments: stage.begin(command(*parameters, **arguments))
    stage.end()


@pytest.fixture
def refused(binary, model):
    """Starts a node that must refuse to start; returns what it says."""

    def begin(*arguments):
        command = [str(binary), "--ros-args", "-p", f"model.path:={model}", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
        output = result.stdout + result.stderr
        assert result.returncode == 1, f"exit code {result.returncode}:\n{output}"
        assert "panicked" not in output
        return output

    return begin

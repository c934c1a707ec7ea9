"""Starts detector_node as `ros2 launch` would: executable, parameter file and remappings are read from the launch file."""

import re
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCH_FILE = ROOT / "launch" / "detector.launch.xml"


class Launch:
    """The one node of a launch file, with its arguments set.

    Understands `$(var NAME)` and `$(find-pkg-share onebit_detector)`, which is all that the file uses; `share` is the
    folder that the latter stands for.
    """

    def __init__(self, share=ROOT, file=LAUNCH_FILE, **arguments):
        root = ElementTree.parse(file).getroot()
        self.share = share
        self.arguments = {}
        for arg in root.iter("arg"):
            name = arg.get("name")
            self.arguments[name] = str(arguments.pop(name, None) or self.resolve(arg.get("default")))
        if arguments:
            raise KeyError(f"{file} has no argument {', '.join(arguments)}")
        node = root.find("node")
        self.package = node.get("pkg")
        self.executable = node.get("exec")
        self.name = self.resolve(node.get("name"))
        self.namespace = self.resolve(node.get("namespace"))
        self.parameter_files = [self.resolve(p.get("from")) for p in node.iter("param") if p.get("from")]
        self.parameters = {p.get("name"): self.resolve(p.get("value")) for p in node.iter("param") if p.get("name")}
        self.remappings = [(r.get("from"), self.resolve(r.get("to"))) for r in node.iter("remap")]

    def resolve(self, text):
        text = text.replace("$(find-pkg-share onebit_detector)", str(self.share))
        text = re.sub(r"\$\(var (\w+)\)", lambda match: self.arguments[match.group(1)], text)
        if "$(" in text:
            raise ValueError(f"a substitution that is not known here: {text}")
        return text

    def command(self, binary, parameters=()):
        """The command line that the launch system would run, with further (name, value) parameters at its end."""
        command = [str(binary), "--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            command += ["-r", f"__ns:={self.namespace}"]
        for file in self.parameter_files:
            command += ["--params-file", file]
        for name, value in [*self.parameters.items(), *parameters]:
            command += ["-p", f"{name}:={value}"]
        for source, target in self.remappings:
            command += ["-r", f"{source}:={target}"]
        return command


class DetectorProcess:
    """A running detector_node; ends with SIGINT."""

    def __init__(self, command, output=None):
        self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT if output else None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def running(self):
        return self.process.poll() is None

    def stop(self, by=signal.SIGINT, seconds=5):
        """Ends the node; returns its exit code."""
        if self.running():
            self.process.send_signal(by)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

"""A camera that sends images and a listener that waits for what the node makes of them."""

import array
import io
import time

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter, ParameterEvent, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)
from PIL import Image as Picture
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_parameter_events
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

NODE = "detector_node"
IMAGE = {"raw": "/image", "compressed": "/image/compressed"}


class Peer(Node):
    def __init__(self):
        super().__init__("peer")
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)  # nothing is lost on the way
        self.cameras = {
            "raw": self.create_publisher(Image, IMAGE["raw"], qos),
            "compressed": self.create_publisher(CompressedImage, IMAGE["compressed"], qos),
        }
        self.arrays = []
        self.create_subscription(Detection2DArray, "/detections", self.arrays.append, 10)
        self.events = []
        self.create_subscription(ParameterEvent, "/parameter_events", self._keep_event, qos_profile_parameter_events)
        self.stamp = 0

    def _keep_event(self, event):
        if event.node == f"/{NODE}":
            self.events.append(event)

    def spin_until(self, condition, seconds=10):
        """Whether the condition came true in time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            rclpy.spin_once(self, timeout_sec=0.02)
        return True

    def spin_for(self, seconds):
        self.spin_until(lambda: False, seconds)

    def connect(self, process, transport="raw"):
        """Waits until a node has started, hears the camera and is heard.

        That each sees the other is not enough, messages may still be lost: the proof is an answer.
        """
        first = self.stamp
        black = Picture.new("RGB", (32, 32))
        probe = raw_image(np.asarray(black)) if transport == "raw" else compressed_image(black, "png")
        end = time.monotonic() + 20
        while not any(array.header.stamp.sec > first for array in self.arrays):
            assert process.running(), f"the node ended:\n{process.output()}"
            assert time.monotonic() < end, f"the node does not answer:\n{process.output()}"
            stamp = self.send(probe)
            self.spin_until(lambda: self.answers(stamp), 0.2)
        self.arrays[:] = [array for array in self.arrays if array.header.stamp.sec > first]
        self.spin_for(0.1)

    def wait_until_gone(self):
        assert self.spin_until(lambda: not self.count_publishers("/detections"), 20), "the node is still seen"

    def send(self, message, frame_id="camera"):
        """Sends an image with a time stamp of its own, which is returned."""
        self.stamp += 1
        message.header.stamp.sec, message.header.stamp.nanosec = self.stamp, 999_999_999 - self.stamp
        message.header.frame_id = frame_id
        self.cameras["raw" if isinstance(message, Image) else "compressed"].publish(message)
        return message.header.stamp

    def answers(self, stamp):
        return [array for array in self.arrays if array.header.stamp == stamp]

    def ask(self, message, seconds=10):
        """Sends an image and returns the array that comes back for it."""
        stamp = self.send(message)
        assert self.spin_until(lambda: self.answers(stamp), seconds), "no detections came back"
        (answer,) = self.answers(stamp)
        return answer

    def call(self, service_type, service, **request):
        client = self.create_client(service_type, f"/{NODE}/{service}")
        try:
            assert self.spin_until(client.service_is_ready), f"no service {service}"
            future = client.call_async(service_type.Request(**request))
            assert self.spin_until(future.done), f"the service {service} does not answer"
            return future.result()
        finally:
            self.destroy_client(client)

    def list_parameters(self):
        return list(self.call(ListParameters, "list_parameters").result.names)

    def get_parameters(self, names):
        values = self.call(GetParameters, "get_parameters", names=names).values
        return dict(zip(names, map(plain, values)))

    def describe_parameters(self, names):
        return self.call(DescribeParameters, "describe_parameters", names=names).descriptors

    def get_parameter_types(self, names):
        return list(self.call(GetParameterTypes, "get_parameter_types", names=names).types)

    def set_parameters_atomically(self, values):
        """Sets all or none; what the node answers: `successful`, `reason`."""
        parameters = [Parameter(name=name, value=typed(value)) for name, value in values.items()]
        return self.call(SetParametersAtomically, "set_parameters_atomically", parameters=parameters).result

    def set_parameter(self, name, value):
        """What the node answers: `successful`, `reason`."""
        parameter = Parameter(name=name, value=typed(value))
        return self.call(SetParameters, "set_parameters", parameters=[parameter]).results[0]


FIELDS = {
    ParameterType.PARAMETER_BOOL: "bool_value",
    ParameterType.PARAMETER_INTEGER: "integer_value",
    ParameterType.PARAMETER_DOUBLE: "double_value",
    ParameterType.PARAMETER_STRING: "string_value",
    ParameterType.PARAMETER_DOUBLE_ARRAY: "double_array_value",
}


def plain(value):
    """The Python value of a parameter's value."""
    found = getattr(value, FIELDS[value.type])
    return list(found) if isinstance(found, array.array) else found


def typed(value):
    """The parameter's value of a Python value."""
    kinds = {bool: 1, int: 2, float: 3, str: 4, list: 8}
    kind = kinds[type(value)]
    return ParameterValue(type=kind, **{FIELDS[kind]: value})


def raw_image(pixels, encoding="rgb8", padding=0):
    """An image message of an array `[height, width, bytes of a pixel]`, with `padding` bytes after each row."""
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=170)
    data = array.array("B", rows.astype(np.uint8).tobytes())
    return Image(height=height, width=width, encoding=encoding, step=rows.shape[1], data=data)


def compressed_image(picture, format, **options):
    """A compressed message of a PIL picture."""
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return CompressedImage(format=format, data=array.array("B", buffer.getvalue()))


def boxes(answer):
    """Class, score and box of each detection, as an array reports them."""
    return [
        (
            detection.results[0].hypothesis.class_id,
            detection.results[0].hypothesis.score,
            detection.bbox.center.position.x,
            detection.bbox.center.position.y,
            detection.bbox.size_x,
            detection.bbox.size_y,
        )
        for detection in answer.detections
    ]


def counts(node):
    """What an ended node says about its frames: `received`, `processed`, `dropped`, `refused`."""
    (line,) = [line for line in node.output().splitlines() if "frames received" in line]
    words = line[line.index("received") :].split()
    return {name: int(count) for name, count in zip(words[::2], words[1::2])}

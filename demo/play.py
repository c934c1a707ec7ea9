"""Plays driving frames into detector_node over ROS 2 and shows what comes back.

The node is started with the executable, parameter file and remappings of launch/detector.launch.xml. Each frame's
detections and latency (from its time stamp to the array's arrival here) are printed, annotated pictures are written,
and a summary line ends the demo. Exit code 1 if the node ends early or badly, or if nothing comes back.
"""

import argparse
import array
import sys
import time
from pathlib import Path

import rclpy
from PIL import Image as Picture
from PIL import ImageDraw
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from detector_process import ROOT, DetectorProcess, Launch

CAMERA_TOPIC = "/camera/image_raw"
COLOURS = ["#ff5050", "#50c8ff", "#ffd24a", "#7bff6a", "#e07bff"]


def main():
    options = parse_options()
    files = sorted(f for f in options.frames.iterdir() if f.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        sys.exit(f"{options.frames} has no .jpg, .jpeg or .png")
    command = Launch(image=CAMERA_TOPIC).command(options.binary, [("model.path", options.model.resolve())])
    print("starting:", " ".join(command), flush=True)
    rclpy.init(args=[])
    with DetectorProcess(command) as node:
        player = Player(node)
        player.wait_for_node(files[0])
        player.play(files, options.rate)
        player.wait_for_answers()
        ended_well = node.running() and node.stop() == 0
    options.out.mkdir(parents=True, exist_ok=True)
    annotate(player.answers, options.out)
    print(f"annotated pictures in {options.out}")
    print(player.summary(), flush=True)
    return 0 if ended_well and player.answers else 1


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the program detector_node")
    parser.add_argument("--frames", type=Path, default=ROOT / "demo" / "frames", help="folder of pictures")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "demo.safetensors", help="model file")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "demo", help="folder for the annotated pictures")
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second")
    options = parser.parse_args()
    if not options.frames.is_dir():
        parser.error(f"{options.frames} is no folder")
    if not options.model.is_file():
        parser.error(f"{options.model} is no file")
    return options


class Player:
    """Sends frames and collects the arrays that come back, by time stamp."""

    def __init__(self, process):
        self.process = process
        self.node = rclpy.create_node("demo_player")
        self.publisher = self.node.create_publisher(Image, CAMERA_TOPIC, qos_profile_sensor_data)
        self.node.create_subscription(Detection2DArray, "/detections", self.receive, 10)
        self.heard = False
        self.sent = {}  # time stamp in ns -> file
        self.answers = {}  # file -> (latency in ms, detections)

    def wait_for_node(self, file, seconds=30):
        """Sends one frame again and again until something comes back: only then is each known to hear the other."""
        message = read(file)
        end = time.monotonic() + seconds
        while not self.heard:
            if not self.process.running() or time.monotonic() > end:
                sys.exit("detector_node did not start")
            self.publisher.publish(message)
            self.spin_until(time.monotonic() + 0.5, lambda: self.heard)

    def play(self, files, rate):
        due = time.monotonic()
        for file in files:
            message = read(file)
            self.spin_until(due)
            stamp = time.time_ns()
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
            self.sent[stamp] = file
            self.publisher.publish(message)
            due = max(due + 1 / rate, time.monotonic())

    def wait_for_answers(self, seconds=5):
        """Until every frame is answered, or the last answer is this long ago: what is missing then was dropped."""
        end = time.monotonic() + seconds
        while len(self.answers) < len(self.sent) and time.monotonic() < end and self.process.running():
            known = len(self.answers)
            rclpy.spin_once(self.node, timeout_sec=0.1)
            if len(self.answers) > known:
                end = time.monotonic() + seconds

    def spin_until(self, due, condition=lambda: False):
        while (left := due - time.monotonic()) > 0 and not condition():
            rclpy.spin_once(self.node, timeout_sec=left)

    def receive(self, message):
        now = time.time_ns()
        self.heard = True
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        file = self.sent.get(stamp)
        if file is None:
            return
        latency = (now - stamp) / 1e6
        self.answers[file] = (latency, message.detections)
        boxes = "  ".join(describe(detection) for detection in message.detections) or "nothing"
        print(f"{file.name}  {latency:.1f} ms  {boxes}", flush=True)

    def summary(self):
        latencies = sorted(latency for latency, _ in self.answers.values())
        quantile = lambda q: latencies[round((len(latencies) - 1) * q)] if latencies else float("nan")
        sent, received = len(self.sent), len(self.answers)
        return (
            f"frames sent {sent} received {received} dropped {sent - received} "
            f"latency p50 {quantile(0.5):.1f} ms p99 {quantile(0.99):.1f} ms"
        )


def read(file):
    try:
        picture = Picture.open(file).convert("RGB")
    except OSError as error:
        sys.exit(f"{file} cannot be read: {error}")
    message = Image(width=picture.width, height=picture.height, encoding="rgb8", step=3 * picture.width)
    message.header.frame_id = "camera"
    message.data = array.array("B", picture.tobytes())
    return message


def describe(detection):
    best = detection.results[0].hypothesis
    box = detection.bbox
    centre = box.center.position
    return f"{best.class_id} {best.score:.2f} at {centre.x:.0f},{centre.y:.0f} {box.size_x:.0f}x{box.size_y:.0f}"


def annotate(answers, out):
    for file, (_, detections) in answers.items():
        picture = Picture.open(file).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for detection in detections:
            best, box = detection.results[0].hypothesis, detection.bbox
            centre = box.center.position
            corner = (centre.x - box.size_x / 2, centre.y - box.size_y / 2)
            colour = COLOURS[sum(best.class_id.encode()) % len(COLOURS)]
            draw.rectangle([corner, (corner[0] + box.size_x, corner[1] + box.size_y)], outline=colour, width=3)
            draw.text((corner[0] + 4, corner[1] + 3), f"{best.class_id} {best.score:.2f}", fill=colour)
        picture.save(out / f"{file.stem}.jpg", quality=90)


if __name__ == "__main__":
    sys.exit(main())

"""Starts the installed launch file with the real launch system, sends an image and waits for the answer.

Needs a ROS installation (launch_testing has no wheels) in which the package is installed: a colcon workspace, sourced.
"""

import time
import unittest

import pytest

pytest.importorskip("launch_testing", reason="launch_testing comes only with a ROS installation")

import launch
import launch_testing.actions
import launch_testing.asserts
import launch_testing.markers
import rclpy
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray


@pytest.mark.launch_test
def generate_test_description():
    file = get_package_share_directory("onebit_detector") + "/launch/detector.launch.xml"
    arguments = [("image", "/camera/image_raw")]
    include = IncludeLaunchDescription(AnyLaunchDescriptionSource(file), launch_arguments=arguments)
    return launch.LaunchDescription([include, launch_testing.actions.ReadyToTest()])


class WhileRunning(unittest.TestCase):
    def test_answers(self):
        rclpy.init()
        node = rclpy.create_node("test")
        answers = []
        camera = node.create_publisher(Image, "/camera/image_raw", 10)
        node.create_subscription(Detection2DArray, "/detections", answers.append, 10)
        image = Image(height=90, width=160, encoding="rgb8", step=480, data=bytes(90 * 480))
        image.header.frame_id = "camera"
        end = time.monotonic() + 10
        while not answers and time.monotonic() < end:
            camera.publish(image)
            rclpy.spin_once(node, timeout_sec=0.2)
        node.destroy_node()
        rclpy.shutdown()
        self.assertTrue(answers)
        self.assertEqual(answers[0].header.frame_id, "camera")


@launch_testing.post_shutdown_test()
class AfterShutdown(unittest.TestCase):
    def test_exit_code(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)

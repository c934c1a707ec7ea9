"""The demo, on some of its frames."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from PIL import Image as Picture


@pytest.fixture
def play(binary, model, tmp_path):
    """Runs demo/play.py on a folder of frames, in a domain apart from the tests' own."""

    def run(frames):
        domain = int(os.environ["ROS_DOMAIN_ID"]) % 100 + 1
        command = [sys.executable, ROOT / "demo" / "play.py", "--binary", binary, "--model", model]
        command += ["--frames", frames, "--out", tmp_path / "out"]
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


def test_every_frame_is_shown_and_the_summary_ends_it(play, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    files = sorted((ROOT / "demo" / "frames").glob("*.jpg"))[:4]
    for file in files:
        shutil.copy(file, frames)
    result = play(frames)
    assert result.returncode == 0, result.stdout + result.stderr
    *lines, summary = result.stdout.splitlines()
    assert re.fullmatch(
        r"frames sent 4 received 4 dropped 0 latency p50 \d+\.\d ms p99 \d+\.\d ms", summary
    ), result.stdout
    for file in files:
        assert any(re.match(rf"{file.name}  \d+\.\d ms  ", line) for line in lines)
        with Picture.open(tmp_path / "out" / file.name) as annotated, Picture.open(file) as original:
            assert annotated.size == original.size


def test_a_folder_without_pictures_is_an_error(play, tmp_path):
    result = play(tmp_path)
    assert result.returncode != 0
    assert str(tmp_path) in result.stderr and "Traceback" not in result.stderr

"""Launch files, package.xml and messages, as far as they can be checked without the launch system."""

import json
import os
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from conftest import ROOT, Launch
from peer import IMAGE, NODE

LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.xml"))
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()


def test_there_are_launch_files():
    assert LAUNCH_FILES


@pytest.fixture(params=LAUNCH_FILES, ids=lambda file: file.name)
def launch_file(request):
    return request.param


def test_launch_file_names_what_exists(launch_file, node, peer):
    launch = Launch(file=launch_file)
    assert launch.package == CARGO["package"]["name"]
    assert launch.executable in [program["name"] for program in CARGO["bin"]]
    for file in launch.parameter_files:
        assert Path(file).is_file()
        assert Path(file).parent.name in CARGO["package"]["metadata"]["ros"]["install_to_share"]
    assert set(launch.parameters) <= set(peer.list_parameters())
    topics = {name for name, _ in peer.get_publisher_names_and_types_by_node(NODE, "/")}
    topics |= {name for name, _ in peer.get_subscriber_names_and_types_by_node(NODE, "/")}
    topics |= set(IMAGE.values())  # of which a node has one
    assert {f"/{source}" for source, _ in launch.remappings} <= topics


def test_launch_arguments_are_described_and_used(launch_file):
    text = launch_file.read_text()
    root = ElementTree.fromstring(text)
    names = [argument.get("name") for argument in root.iter("arg")]
    assert all(argument.get("description") for argument in root.iter("arg"))
    assert set(re.findall(r"\$\(var (\w+)\)", text)) == set(names)


def test_package_xml_agrees_with_cargo_toml():
    assert PACKAGE.findtext("name") == CARGO["package"]["name"]
    assert PACKAGE.findtext("version") == CARGO["workspace"]["package"]["version"]
    assert PACKAGE.findtext("license") == CARGO["workspace"]["package"]["license"]
    assert PACKAGE.find("maintainer").get("email")
    assert PACKAGE.findtext("export/build_type") == "ament_cargo"


def test_package_xml_names_the_message_packages_of_the_node():
    named = {element.text for kind in ("depend", "build_depend", "exec_depend") for element in PACKAGE.iter(kind)}
    sources = [file.read_text() for file in (ROOT / "src" / "node").rglob("*.rs")]
    used = set(re.findall(r"\b(\w+_msgs|builtin_interfaces|rcl_interfaces)::", "\n".join(sources)))
    assert used and used <= named


def test_programs_with_features_are_what_colcon_builds():
    """cargo-ament-build leaves out, without a word, programs whose features are not on its command line."""
    arguments = json.loads((ROOT / "colcon.pkg").read_text())["cargo-args"]
    features = {arguments[index + 1] for index, word in enumerate(arguments) if word == "--features"}
    assert "--release" in arguments
    for program in CARGO["bin"]:
        assert set(program.get("required-features", [])) <= features


def test_vision_msgs_is_the_official_definition():
    """The hash of the type, from which ROS 2 tells whether two programs mean the same message."""
    official = "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968"
    prefixes = os.environ["AMENT_PREFIX_PATH"].split(":")
    files = [Path(prefix, "share/vision_msgs/msg/Detection2DArray.json") for prefix in prefixes]
    file = next(file for file in files if file.is_file())
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(file.read_text())["type_hashes"]}
    assert hashes["vision_msgs/msg/Detection2DArray"] == official

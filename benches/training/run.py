"""Trains the same network in PyTorch and in `distill` on the CPU, in turn, and prints images per second and their ratio.

    make bench-training [ARGUMENTS="--network darknet-yolo-64 --width 0.25 --window 320x224 --threads 2 --rounds 5"]

Each measurement is a process of its own; a round measures both, each round in the other order. PyTorch's number is the median
of its steps after a first one; that of `distill` is from the second epoch of a run on synthetic frames, an epoch having as
many steps: loader (in threads of its own), region loss and metrics are in it, what is done between epochs is not. `measure.py` says what PyTorch
does; its batch norm sees the whole batch, that of `distill` one part for each thread.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

RECIPE = """
network: {{topology: {network}, width: {width}, input: {window}}}
data: {{root: {folder}, train: [{{path: frames}}], classes: {{Car: car, Pedestrian: pedestrian, Cyclist: cyclist}}}}
batch: {batch}
shards: {threads}
stages: [{{name: binary, epochs: 2, learning_rate: {{peak: 1.0e-3, end: 1.0e-3}}}}]
"""


def main():
    arguments = parse_arguments()
    prepare(arguments)
    found = {"PyTorch": [], "distill": []}
    measures = {"PyTorch": pytorch, "distill": distill}
    for round in range(arguments.rounds):
        for name in list(measures)[:: 1 if round % 2 == 0 else -1]:
            found[name].append(measures[name](arguments))
    print(f"\n{arguments.network} x{arguments.width}, {arguments.window}, batch {arguments.batch}, {arguments.threads} thread(s)")
    print("images/s   median    least     most")
    for name, rates in found.items():
        print(f"{name:<10}{statistics.median(rates):7.2f}  {min(rates):7.2f}  {max(rates):7.2f}")
    ratio = statistics.median(found["distill"]) / statistics.median(found["PyTorch"])
    print(f"distill / PyTorch: {ratio:.2f}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onebit", type=Path, required=True, help="the program onebit")
    parser.add_argument("--distill", type=Path, required=True, help="the program distill")
    parser.add_argument("--folder", type=Path, required=True, help="where frames and runs are made")
    parser.add_argument("--network", default="darknet-yolo-64")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--window", default="320x224", help="size of a training picture")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="in each measurement")
    return parser.parse_args()


def prepare(arguments):
    """Frames, recipe, and the network as a model file."""
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "frames", ignore_errors=True)
    output([arguments.distill, "synth", folder / "frames", "--frames", arguments.steps * arguments.batch])
    options = {**vars(arguments), "folder": json.dumps(str(folder.resolve()))}
    (folder / "recipe.yaml").write_text(RECIPE.format(**options))
    new = [arguments.onebit, "new", arguments.network, "--width", arguments.width, "--input", arguments.window, "--seed", 1]
    output([*new, "-o", folder / "network.safetensors"])


def pytorch(arguments):
    options = ["--window", arguments.window, "--batch", arguments.batch, "--steps", arguments.steps, "--threads", arguments.threads]
    answer = json.loads(output([sys.executable, HERE / "measure.py", arguments.folder / "network.safetensors", *options]))
    return arguments.batch / statistics.median(answer["seconds"])


def distill(arguments):
    run = arguments.folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    output([arguments.distill, "train", arguments.folder / "recipe.yaml", "-o", run], RAYON_NUM_THREADS=arguments.threads)
    with open(run / "times.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    return float(last["images_per_second"])


def output(command, **variables):
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()

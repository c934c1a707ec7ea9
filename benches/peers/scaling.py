"""Time over input size and over width multiplier, beside the peers: a table and a plot.

    make bench-scaling        writes docs/scaling.png and docs/scaling.json
"""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the backend is chosen
import run  # noqa: E402

CONTESTANTS = ["onebit int8", "onebit f32", "OpenVINO int8", "ONNX Runtime fp32"]
INPUTS = ["224x224", "320x320", "416x416", "608x608"]
WIDTHS = [0.25, 0.5, 1.0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onebit", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the plot; the numbers go beside it as JSON")
    parser.add_argument("--network", default="darknet-yolo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=5)
    arguments = parser.parse_args()
    points = {
        "input size, width 1": [(side(size), times(arguments, size, 1.0)) for size in INPUTS],
        "width multiplier, 416x416": [(width, times(arguments, "416x416", width)) for width in WIDTHS],
    }
    arguments.out.with_suffix(".json").write_text(json.dumps({"processor": run.processor(), "points": points}, indent=2) + "\n")
    draw(points, arguments)


def side(size):
    return int(size.split("x")[0])


def times(arguments, size, width):
    """Processor time in ms of every contestant, one thread."""
    options = SimpleNamespace(**vars(arguments), width=width, contestants=CONTESTANTS)
    rows = run.compare(options, run.prepare(options, arguments.network, size), "native", 1)
    run.print_table(f"{arguments.network} x{width} {size}", rows, 1)
    return {name: row["cpu_ms"] for name, row in rows.items()}


def draw(points, arguments):
    figure, axes = plt.subplots(1, len(points), figsize=(10, 4))
    for axis, (title, series) in zip(axes, points.items()):
        for name in CONTESTANTS:
            axis.plot([x for x, _ in series], [found[name] for _, found in series], marker="o", label=name)
        axis.set(xlabel=title, ylabel="ms of processor time, one thread", yscale="log")
        axis.grid(alpha=0.3, which="both")
    axes[-1].legend(loc="upper left")
    figure.suptitle(f"{arguments.network} on {run.processor()}", fontsize=9)
    figure.tight_layout()
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()

"""Times this engine beside ONNX Runtime and OpenVINO on the same network, in turn, and prints ratios.

    make bench-peers [ARGUMENTS="--networks darknet-yolo --inputs 416x416 --threads 1 --isa avx2 --rounds 5"]

Each measurement is a process of its own; a round measures every contestant once, each round in another order. Medians
over the rounds are of processor time with one thread, of wall time with more. Weights are random: speed does not depend
on them. What each contestant ran (kernels, execution types) is printed below the table.

Three classes of machine: `native` is the machine as it is; `avx512` and `avx2` keep AMX, or AMX and AVX-512, from both
sides. ONNX Runtime cannot be kept from what it finds: its rows are those of the native machine.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What OpenVINO's library may use, by class of machine.
OPENVINO_LIMIT = {"native": None, "avx512": "AVX512_CORE_VNNI", "avx2": "AVX2"}
# This engine's kernels that a class rules out, by the start of their names.
RULED_OUT = {"native": (), "avx512": ("amx",), "avx2": ("amx", "avx512")}
PEERS = {
    "OpenVINO int8": ("openvino", "xml", "int8"),
    "OpenVINO bf16": ("openvino", "onnx", "bf16"),
    "OpenVINO f32": ("openvino", "onnx", "f32"),
    "ONNX Runtime int8": ("onnxruntime", "int8.onnx", "int8"),
    "ONNX Runtime fp32": ("onnxruntime", "onnx", "f32"),
}
OURS = {"onebit int8": "int8", "onebit f32": "f32"}


def main():
    arguments = parse_arguments()
    print(f"processor: {processor()}")
    results = []
    for network in arguments.networks:
        for size in arguments.inputs:
            files = prepare(arguments, network, size)
            for isa in arguments.isa:
                for threads in arguments.threads:
                    rows = compare(arguments, files, isa, threads)
                    print_table(f"{network} {size}, {threads} thread(s), {isa}", rows, threads)
                    results.append({"network": network, "input": size, "threads": threads, "isa": isa, "rows": rows})
    if arguments.json:
        arguments.json.write_text(json.dumps({"processor": processor(), "results": results}, indent=2))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")
    parser.add_argument("--onebit", type=Path, required=True, help="the program onebit")
    parser.add_argument("--folder", type=Path, required=True, help="where models are made and kept")
    parser.add_argument("--networks", type=words, default=["darknet-yolo", "mobilenet-yolo"])
    parser.add_argument("--inputs", type=words, default=["416x416", "1248x384"])
    parser.add_argument("--threads", type=lambda text: [int(n) for n in words(text)], default=[1])
    parser.add_argument("--isa", type=words, default=["native"], help="of native, avx512, avx2")
    parser.add_argument("--contestants", type=words, default=[*OURS, *PEERS])
    parser.add_argument("--width", type=float, default=1.0, help="width multiplier of the network")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10, help="in each measurement")
    parser.add_argument("--json", type=Path, help="a file for all results")
    return parser.parse_args()


def prepare(arguments, network, size):
    """The network as a model file and in the peers' forms, made once."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    stem = arguments.folder / f"{network}-{arguments.width}-{size}"
    files = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in ("safetensors", "onnx", "xml", "int8.onnx")}
    run = lambda *command: subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    if not all(file.exists() for file in files.values()):
        print(f"making {network} {size} and its 8-bit forms", file=sys.stderr)
        new = (arguments.onebit, "new", network, "--input", size, "--width", arguments.width, "--seed", 1)
        run(*new, "-o", files["safetensors"])
        run(arguments.onebit, "export-onnx", files["safetensors"], "-o", files["onnx"])
        run(sys.executable, HERE / "quantize.py", files["onnx"], files["xml"], files["int8.onnx"])
    return files


def compare(arguments, files, isa, threads):
    """Medians of every contestant over the rounds."""
    found = {name: [] for name in arguments.contestants}
    for round in range(arguments.rounds):
        turn = round % len(arguments.contestants)
        for name in arguments.contestants[turn:] + arguments.contestants[:turn]:
            found[name].append(measure(arguments, files, name, isa, threads))
    return {name: summary(rounds) for name, rounds in found.items()}


def measure(arguments, files, name, isa, threads):
    images = arguments.images
    if name in OURS:
        mode = OURS[name]
        command = [arguments.onebit, "bench", files["safetensors"], "--mode", mode, "--threads", threads, "--rounds", images, "--json"]
        return json.loads(output(command, kernel_of(arguments, files, mode, isa)))
    peer, suffix, precision = PEERS[name]
    limit = OPENVINO_LIMIT[isa]
    variables = {"ONEDNN_MAX_CPU_ISA": limit, "OV_CPU_MAX_ISA": limit} if limit and peer == "openvino" else {}
    command = [sys.executable, HERE / "measure.py", peer, files[suffix], "--precision", precision, "--threads", threads, "--images", images]
    return json.loads(output(command, variables))


def kernel_of(arguments, files, mode, isa):
    """Nothing where the engine may choose by itself; else the quickest of the kernels that the class allows."""
    if isa == "native":
        return {}
    key = (mode, isa, files["safetensors"])
    if key not in CHOSEN:
        times = {}
        for kernel in kernels(arguments, files, mode):
            if not kernel.startswith(RULED_OUT[isa]) and kernel != "portable":
                command = [arguments.onebit, "bench", files["safetensors"], "--mode", mode, "--rounds", 3, "--json"]
                times[kernel] = json.loads(output(command, {"ONEBIT_KERNEL": kernel}))["cpu_ms"]
        CHOSEN[key] = min(times, key=times.get, default="portable")
    return {"ONEBIT_KERNEL": CHOSEN[key]}


CHOSEN = {}


def kernels(arguments, files, mode):
    """The names of the kernels that this processor runs, as the engine lists them when asked for one that it lacks."""
    command = [arguments.onebit, "bench", files["safetensors"], "--mode", mode, "--kernel", "?"]
    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True).stderr
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", answer.rsplit(":", 1)[1])


def output(command, variables):
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **variables}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def summary(rounds):
    median = lambda key: statistics.median(found[key] for found in rounds)
    last = rounds[-1]
    ran = last["kernels"] if "kernels" in last else f"{last['kernel']}, {last['threads']} thread(s)"
    return {"cpu_ms": median("cpu_ms"), "wall_ms": median("median_ms"), "resident_mb": median("resident_mb"), "ran": ran}


def print_table(title, rows, threads):
    measured = "cpu_ms" if threads == 1 else "wall_ms"
    of = {mode: rows.get(name, {}).get(measured) for name, mode in OURS.items()}
    ratio = lambda value, mode: f"{value / of[mode]:8.2f}" if of[mode] else " " * 8
    print(f"\n{title}; {'processor' if threads == 1 else 'wall'} time, median of the rounds")
    print(f"{'':<20}{'ms':>9}{'/ int8':>8}{'/ f32':>8}{'MB':>8}")
    for name, row in sorted(rows.items(), key=lambda item: item[1][measured]):
        value = row[measured]
        print(f"{name:<20}{value:9.2f}{ratio(value, 'int8')}{ratio(value, 'f32')}{row['resident_mb']:8.0f}")
    for name, row in rows.items():
        print(f"  {name}: {row['ran']}")
    sys.stdout.flush()


def processor():
    try:
        description = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = re.findall(r"model name\s*:\s*(.+)", description)
    known = [flag for flag in ("amx_int8", "avx512_vnni", "avx_vnni", "avx2") if flag in description]
    return f"{names[0] if names else platform.machine()} ({', '.join(known)})"


if __name__ == "__main__":
    main()

"""One peer, one network, one process: prints its times as JSON.

    python measure.py openvino|onnxruntime MODEL [--precision int8|f32|bf16] [--threads N] [--images N]
"""

import argparse
import json
import resource
import statistics
import time

import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["openvino", "onnxruntime"])
    parser.add_argument("model", help="an ONNX file, or OpenVINO's XML")
    parser.add_argument("--precision", choices=["int8", "f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=10)
    arguments = parser.parse_args()
    start = {"openvino": openvino, "onnxruntime": onnxruntime}[arguments.peer]
    infer, kernels = start(arguments.model, arguments.precision, arguments.threads)
    print(json.dumps(measure(infer, kernels, arguments.images)))


def measure(infer, kernels, images):
    infer()  # to warm up
    wall, cpu = [], []
    for _ in range(images):
        start, cpu_start = time.perf_counter(), time.process_time()
        infer()
        cpu.append(1e3 * (time.process_time() - cpu_start))
        wall.append(1e3 * (time.perf_counter() - start))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6
    return {
        "median_ms": statistics.median(wall),
        "min_ms": min(wall),
        "cpu_ms": statistics.median(cpu),
        "resident_mb": resident,
        "kernels": kernels(),
    }


def picture(shape):
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def openvino(model, precision, threads):
    """OpenVINO; 8-bit layers stay 8-bit under either hint, the hint is for the others."""
    import openvino as ov

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    compiled = ov.Core().compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(picture(tuple(compiled.input().shape))))

    def kernels():
        """Share of the time by execution type, the largest first."""
        times = {}
        for node in request.get_profiling_info():
            times[node.exec_type] = times.get(node.exec_type, 0) + node.real_time.total_seconds()
        total = sum(times.values()) or 1
        ordered = sorted(times.items(), key=lambda item: -item[1])
        return {name: round(spent / total, 3) for name, spent in ordered if spent / total >= 0.01}

    return request.infer, kernels


def onnxruntime(model, precision, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    feed = {image.name: picture(image.shape)}
    return lambda: session.run(None, feed), lambda: {f"onnxruntime {ort.__version__} {precision}": 1.0}


if __name__ == "__main__":
    main()

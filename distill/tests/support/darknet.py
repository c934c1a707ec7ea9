"""Writes a small DarkNet YOLO-v2 as Darknet does and as safetensors, and computes what it gives for a picture.

Written from Darknet's sources (`parser.c`, `batchnorm_layer.c`), with NumPy alone.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

# yolov2-voc.cfg at an eighth of its width, no less than 8 filters: layer, filters, kernel; "M" is a max pool.
LAYERS = [
    (0, 8, 3), "M", (2, 8, 3), "M", (4, 16, 3), (5, 8, 1), (6, 16, 3), "M", (8, 32, 3), (9, 16, 1), (10, 32, 3), "M",
    (12, 64, 3), (13, 32, 1), (14, 64, 3), (15, 32, 1), (16, 64, 3), "M",
    (18, 128, 3), (19, 64, 1), (20, 128, 3), (21, 64, 1), (22, 128, 3), (23, 128, 3), (24, 128, 3),
]
PASSTHROUGH, LAST = (26, 8, 1), (29, 128, 3)
OUTPUTS = 5 * (5 + 3)

random = np.random.default_rng(7)
written = bytearray(struct.pack("<iiiQ", 0, 2, 0, 12345))
tensors = {}


def convolve(x, weights):
    kernel = weights.shape[-1]
    x = np.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))
    return np.einsum("chwij,fcij->fhw", windows, weights, optimize=True)


def put(name, values):
    tensors[name] = values.astype(np.float32)
    return tensors[name].astype(np.float64)


def convolution(x, number, filters, kernel):
    name = f"conv{number}"
    shift = put(f"{name}.norm.bias", random.normal(0, 0.3, filters))
    scale = put(f"{name}.norm.weight", random.uniform(0.5, 1.5, filters))
    mean = put(f"{name}.norm.running_mean", random.normal(0, 0.3, filters))
    variance = put(f"{name}.norm.running_var", random.uniform(0.2, 2, filters))
    inputs = len(x) * kernel * kernel
    weights = put(f"{name}.weight", random.normal(0, inputs**-0.5, (filters, len(x), kernel, kernel)))
    tensors[f"{name}.norm.num_batches_tracked"] = np.array(9)
    for values in (shift, scale, mean, variance, weights):
        written.extend(values.astype("<f4").tobytes())
    each = (slice(None), None, None)
    y = (convolve(x, weights) - mean[each]) / np.sqrt(variance + 1e-5)[each] * scale[each] + shift[each]
    return np.where(y > 0, y, 0.1 * y)


def pool(x):
    c, h, w = x.shape
    return x.reshape(c, h // 2, 2, w // 2, 2).max(axis=(2, 4))


def blocks(x):
    """The passthrough as this project has it: position in the block first, then channel."""
    return np.concatenate([x[:, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)])


def darknet_blocks(x):
    """The passthrough as Darknet has it (`reorg_cpu` in `blas.c`, forward = 0)."""
    c, h, w = x.shape
    k, j, i = np.meshgrid(np.arange(c), np.arange(h), np.arange(w), indexing="ij")
    c2, offset = k % (c // 4), k // (c // 4)
    w2, h2 = i * 2 + offset % 2, j * 2 + offset // 2
    return x.ravel()[w2 + w * 2 * (h2 + h * 2 * c2)].reshape(4 * c, h // 2, w // 2)


# The channels stand in the same order; half of the values are those of the row above or below.
channel, row, column = np.meshgrid(np.arange(8), np.arange(8), np.arange(12), indexing="ij")
for same in (channel, column):
    assert (blocks(same) == darknet_blocks(same)).all()
apart = np.abs(blocks(row) - darknet_blocks(row))
assert apart.max() == 1 and apart.mean() == 0.5

folder = Path(sys.argv[1])
image = random.uniform(0, 1, (3, 64, 96))
x = image.astype(np.float32).astype(np.float64)
for layer in LAYERS:
    if layer == "M":
        x = pool(x)
        continue
    x = convolution(x, *layer)
    if layer[0] == 16:
        fine = x
passed = blocks(convolution(fine, *PASSTHROUGH))
x = convolution(np.concatenate([passed, x]), *LAST)
bias = put("prediction.bias", random.normal(0, 0.3, OUTPUTS))
weights = put("prediction.weight", random.normal(0, len(x) ** -0.5, (OUTPUTS, len(x), 1, 1)))
for values in (bias, weights):
    written.extend(values.astype("<f4").tobytes())
x = convolve(x, weights) + bias[:, None, None]

(folder / "net.weights").write_bytes(written)
save_file(tensors, folder / "net.safetensors")
print(json.dumps({"image": image.ravel().tolist(), "output": x.ravel().tolist(), "shape": x.shape}))

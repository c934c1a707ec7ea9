"""PyTorch: trains a network for some steps on the CPU, in one process; prints the steps' times as JSON.

    python measure.py MODEL --window 320x224 [--batch N] [--steps N] [--threads N]

MODEL is a model file of this project: only its network is used. As in `distill`: binary weights with straight-through
gradients, batch norm, Adam, gradients clipped to a norm, latent weights clamped. In PyTorch's favour: pictures and targets
are made beforehand, and the loss is a plain square of the outputs.
"""

import argparse
import json
import struct
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--window", required=True, help="size of a training picture, WIDTHxHEIGHT")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(arguments.threads)
    width, height = map(int, arguments.window.split("x"))
    network = Network(description(arguments.model)).train()
    images = torch.rand(arguments.batch, 3, height, width)
    targets = torch.rand_like(network(images))
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    seconds = []
    for _ in range(1 + arguments.steps):
        start = time.perf_counter()
        adam.zero_grad()
        (network(images) - targets).square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10)
        adam.step()
        network.clamp()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds[1:], "version": torch.__version__}))  # the first one warms up


def description(path):
    """The network in a model file's header."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["network"])


class Network(nn.Module):
    """The layers of a description, in order."""

    def __init__(self, description):
        super().__init__()
        self.inputs, self.steps, channels = [], nn.ModuleList(), []
        for layer in description["layers"]:
            inputs = [source["layer"] if source != "image" else None for source in layer["inputs"]]
            counts = [channels[index] if index is not None else 3 for index in inputs]
            step, count = build(layer["operation"], counts)
            self.inputs.append(inputs)
            self.steps.append(step)
            channels.append(count)

    def forward(self, image):
        outputs = []
        for inputs, step in zip(self.inputs, self.steps):
            outputs.append(step(*(outputs[index] if index is not None else image for index in inputs)))
        return outputs[-1]

    def clamp(self):
        with torch.no_grad():
            for step in self.steps:
                if getattr(step, "binary", False):
                    step.weight.clamp_(-1, 1)


def build(operation, channels):
    """A module for an operation on inputs of so many channels, and the channels of its output."""
    if operation == "max_pool":
        return nn.MaxPool2d(2), channels[0]
    if operation == "concat":
        return Concat(), sum(channels)
    ((kind, options),) = operation.items()
    if kind == "space_to_depth":
        return nn.PixelUnshuffle(options["block"]), channels[0] * options["block"] ** 2
    if kind == "depthwise":
        return Convolution(channels[0], channels[0], 3, groups=channels[0], batch_norm=True, **options), channels[0]
    return Convolution(channels[0], options["filters"], **{k: v for k, v in options.items() if k != "filters"}), options["filters"]


class Concat(nn.Module):
    def forward(self, *inputs):
        return torch.cat(inputs, 1)


class Convolution(nn.Module):
    def __init__(self, channels, filters, kernel, stride, batch_norm, activation, precision="full", groups=1):
        super().__init__()
        self.binary, self.stride, self.groups, self.activation = precision == "binary", stride, groups, activation
        self.weight = nn.Parameter(torch.empty(filters, channels // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight)
        self.norm = nn.BatchNorm2d(filters) if batch_norm else None
        self.bias = None if batch_norm else nn.Parameter(torch.zeros(filters))

    def forward(self, x):
        weight = binarize(self.weight) if self.binary else self.weight
        y = F.conv2d(x, weight, self.bias, self.stride, weight.shape[-1] // 2, groups=self.groups)
        y = self.norm(y) if self.norm else y
        return {"linear": lambda y: y, "relu": F.relu, "leaky": lambda y: F.leaky_relu(y, 0.1)}[self.activation](y)


def binarize(weight):
    """alpha * sign(W), alpha = mean |W| of each filter; the gradient passes where |W| <= 1."""
    values = weight.detach()
    alpha = values.abs().mean((1, 2, 3), keepdim=True)
    sign = torch.where(values >= 0, 1.0, -1.0)
    carrier = weight.clamp(-1, 1)
    return (carrier - carrier.detach() + sign) * alpha


if __name__ == "__main__":
    main()

"""Makes the 8-bit models of the peers from an exported network, with each peer's own tool.

    python quantize.py NETWORK.onnx OPENVINO.xml ONNXRUNTIME.onnx
"""

import logging
import sys

import numpy as np


def main():
    source, openvino_file, onnxruntime_file = sys.argv[1:]
    logging.disable(logging.WARNING)
    with_nncf(source, openvino_file)
    with_onnxruntime(source, onnxruntime_file)


def pictures(shape):
    """Two pictures of noise: what is calibrated has no influence on speed."""
    numbers = np.random.default_rng(2)
    return [numbers.random(shape, dtype=np.float32) for _ in range(2)]


def with_nncf(source, target):
    import nncf
    import openvino as ov

    model = ov.Core().read_model(source)
    data = nncf.Dataset(pictures(tuple(model.inputs[0].shape)))
    quantized = nncf.quantize(model, data, preset=nncf.QuantizationPreset.MIXED, subset_size=2)
    ov.save_model(quantized, target, compress_to_fp16=False)


def with_onnxruntime(source, target):
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    image = onnx.load(source, load_external_data=False).graph.input[0]
    shape = [dimension.dim_value for dimension in image.type.tensor_type.shape.dim]

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.feeds = iter([{image.name: picture} for picture in pictures(shape)])

        def get_next(self):
            return next(self.feeds, None)

    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


if __name__ == "__main__":
    main()

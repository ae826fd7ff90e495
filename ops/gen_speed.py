"""The measured speed of operators as C++: python3 ops/gen_speed.py OUTPUT.cpp bench/results/operators.json MORE.json...

For each operator the geometric mean, over shapes and dtypes, of its speed through the Python package divided by
PyTorch's. A row names its operator first: 'softmax f32 [1024, 1024] x2', 'fixed: bmm [...] bf16 x2'. SAME names the
operators that no row measures, but whose kernels are called in the same way by one that has rows.
"""

import json
import math
import sys

import gen

SAME = {
    "attention": "scaled_dot_product_attention attention_qkv",
    "bmm": "baddbmm",
    "cat": "concat vstack dstack column_stack",
    "clamp": "clip",
    "clone": "contiguous copy_ narrow_copy",
    "conv2d": "convolution _convolution conv1d conv1d_padded conv2d_padded _conv_depthwise2d cudnn_convolution",
    "cross_entropy": "cross_entropy_loss",
    "dropout": "dropout_train native_dropout",
    "fft_rfft": "_fft_r2c",
    "full_like": "full fill fill_",
    "gather": "take_along_dim",
    "gelu": "gelu_erf",
    "gelu_and_mul": "gelu_erf_and_mul",
    "group_norm": "native_group_norm instance_norm",
    "index_put_": "put_",
    "layer_norm": "native_layer_norm",
    "matmul": "mm",
    "max_pool2d": "max_pool2d_with_indices",
    "mv": "addmv",
    "nll_loss": "nll_loss_nd",
    "ones_like": "ones",
    "pad": "constant_pad_nd",
    "rand_like": "rand uniform_",
    "randn_like": "randn normal normal_",
    "rotary": "apply_rotary_position_embedding",
    "skip_layer_norm": "add_layer_norm",
    "skip_rms_norm": "add_rms_norm",
    "sort": "argsort msort",
    "upsample_nearest2d": "upsample_nearest1d _upsample_nearest_exact1d _upsample_nearest_exact2d",
    "var": "stddev",
    "var_mean": "std_mean",
    "zeros": "zeros_like zero_",
}
# Rows that call an operator otherwise; those of another pass than forward are left out.
CALLED = {"rfft": "fft_rfft", "index_put": "index_put_", "attention forward": "attention",
          "attention decode": "attention_cached", "attention backward": None}


def main(out, *paths):
    ratios = {}
    for path in paths:
        with open(path, encoding="utf-8") as f:
            rows = json.load(f)["rows"]
        for row in rows:
            if not row["ratio"] or row["what"].startswith("geometric mean"):
                continue
            words = row["what"].removeprefix("fixed: ").split()
            name = CALLED.get(" ".join(words[:2]), CALLED.get(words[0], words[0]))
            ratios.setdefault(name, []).append(math.log(row["ratio"]))
    ratios.pop(None, None)
    for measured, names in SAME.items():
        for name in names.split():
            if measured in ratios:
                ratios.setdefault(name, ratios[measured])
    text = ("// Generated from bench/results.\n#include \"ops/registry.h\"\n\nnamespace wellspring {\n\n"
            "double speed_ratio(std::string_view name) {\n"
            "  static constexpr struct {\n    std::string_view name;\n    double ratio;\n  } kMeasured[] = {\n")
    for name, logs in sorted(ratios.items()):
        text += f'      {{"{name}", {math.exp(sum(logs) / len(logs)):.3g}}},\n'
    text += ("  };\n  for (const auto& [measured, ratio] : kMeasured)\n    if (measured == name) return ratio;\n"
             "  return 0;\n}\n\n}  // namespace wellspring\n")
    gen.write(out, text)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""The measured speed of operators as C++: python3 ops/gen_speed.py OUTPUT.cpp bench/results/operators.json

For each operator the geometric mean, over shapes and dtypes, of its speed through the Python package divided by
PyTorch's. A row names its operator first: 'softmax f32 [1024, 1024] x2', 'fixed: bmm [...] bf16 x2'.
"""

import json
import math
import sys

import gen


def main(out, path):
    with open(path, encoding="utf-8") as f:
        rows = json.load(f)["rows"]
    ratios = {}
    for row in rows:
        if not row["ratio"] or row["what"].startswith("geometric mean"):
            continue
        name = row["what"].removeprefix("fixed: ").split()[0]
        ratios.setdefault(name, []).append(math.log(row["ratio"]))
    text = ("// Generated from bench/results/operators.json.\n#include \"ops/registry.h\"\n\nnamespace wellspring {\n\n"
            "double speed_ratio(std::string_view name) {\n"
            "  static constexpr struct {\n    std::string_view name;\n    double ratio;\n  } kMeasured[] = {\n")
    for name, logs in sorted(ratios.items()):
        text += f'      {{"{name}", {math.exp(sum(logs) / len(logs)):.3g}}},\n'
    text += ("  };\n  for (const auto& [measured, ratio] : kMeasured)\n    if (measured == name) return ratio;\n"
             "  return 0;\n}\n\n}  // namespace wellspring\n")
    gen.write(out, text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

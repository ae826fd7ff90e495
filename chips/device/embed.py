"""Makes the device source a part of the library: python3 embed.py OUTPUT.cpp FILE.inc..."""

import os
import sys


def main(out, paths):
    text = ("// Generated from the device source.\n#include \"chips/device/sources.h\"\n\n"
            "namespace wellspring::device {\n\nstd::span<const Source> sources() {\n"
            "  static constexpr Source all[] = {\n")
    for path in sorted(paths, key=os.path.basename):
        name = os.path.splitext(os.path.basename(path))[0]
        with open(path, encoding="utf-8") as f:
            # Pieces, for compilers that limit a literal's length.
            source = f.read()
        pieces = [source[i:i + 8000] for i in range(0, len(source), 8000)]
        literal = "\n".join(f'R"device({p})device"' for p in pieces)
        text += f'      {{"{name}", {literal}}},\n'
    text += "  };\n  return all;\n}\n\n}  // namespace wellspring::device\n"
    with open(out + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(out + ".new", out)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])

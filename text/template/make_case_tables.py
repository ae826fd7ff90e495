#!/usr/bin/env python3
"""Writes case_tables.gen.cpp: how Python's strings change case and which characters they call what.

    text/template/make_case_tables.py >text/template/case_tables.gen.cpp
"""
import sys
import unicodedata

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(codes):
    out = []
    for c in codes:
        if out and c == out[-1][1] + 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def case_map(name, change):
    """Runs of code points at a fixed step that change by a fixed amount; several characters apart."""
    runs, special = [], []
    for c in CODES:
        to = change(chr(c))
        if len(to) > 1:
            special.append((c, to))
        elif ord(to) != c:
            d = ord(to) - c
            if runs and runs[-1][3] == d and (c - runs[-1][1] == runs[-1][2] or
                                              (runs[-1][0] == runs[-1][1] and c - runs[-1][1] <= 2)):
                runs[-1][2] = c - runs[-1][1]
                runs[-1][1] = c
            else:
                runs.append([c, c, 1, d])
    lines(f"const CaseRun k{name}Runs[]", [f"{{{a}, {b}, {s}, {d}}}" for a, b, s, d in runs])
    print(f"const int k{name}RunCount = {len(runs)};")
    text = lambda t: ", ".join(str(ord(x)) for x in t)
    lines(f"const CaseSpecial k{name}Specials[]", [f"{{{c}, {{{text(t)}}}}}" for c, t in special] or ["{0, {0}}"])
    print(f"const int k{name}SpecialCount = {len(special)};\n")


def lines(head, items):
    print(head + " = {")
    line = "   "
    for item in items:
        if len(line) + len(item) > 97:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line + "\n};")


def char_class(name, test):
    found = ranges(c for c in CODES if test(chr(c)))
    lines(f"const CodeRange k{name}[]", [f"{{{a}, {b}}}" for a, b in found])
    print(f"const int k{name}Count = {len(found)};\n")


def main():
    print("// Made by text/template/make_case_tables.py from Unicode " + unicodedata.unidata_version + ".")
    print('#include "text/template/case_tables.h"\n\nnamespace wellspring::jinja {\n')
    case_map("Upper", str.upper)
    case_map("Lower", str.lower)
    case_map("Title", str.title)
    char_class("Cased", lambda c: c.lower() != c or c.upper() != c or c.title() != c or c.islower() or c.isupper())
    char_class("Printable", str.isprintable)
    char_class("Alpha", str.isalpha)
    char_class("Decimal", str.isdecimal)
    char_class("Digit", str.isdigit)
    char_class("Numeric", str.isnumeric)
    char_class("UpperLetter", str.isupper)
    char_class("LowerLetter", str.islower)
    print("}  // namespace wellspring::jinja")


if __name__ == "__main__":
    sys.exit(main())

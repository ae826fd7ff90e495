#!/usr/bin/python3
"""Fetches the demo's text: documentation packages of Debian, English and Chinese.

    tools/demo_corpus.py OUT [--cache DIR]

Packages are downloaded with apt (nothing is installed), unpacked into the cache and arranged as
OUT/en/PACKAGE/... and OUT/zh/PACKAGE/..., which `wellspring data prepare OUT/en OUT/zh` reads.
OUT/LICENCES.txt names each package, its version and its licence. A second run does nothing; with a
complete cache no network is needed. Ready-made text stays as it is: cleaning it is the data
pipeline's work. Only the Python standard library is used.
"""
import argparse
import gzip
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time

# package: (folder of OUT, path inside the package, pattern of file names) for each selection.
MAN = r"\.[1-9][a-z]*(\.gz)?$"
PAGE = r"\.html(\.gz)?$"
PLAN = {
    "debian-reference-en": [("en", "usr/share/debian-reference", r"\.en\.html$")],
    "debian-reference-zh-cn": [("zh", "usr/share/debian-reference", r"\.zh-cn\.html$")],
    "debian-handbook": [("en", "usr/share/doc/debian-handbook/html/en-US", PAGE),
                        ("zh", "usr/share/doc/debian-handbook/html/zh-CN", PAGE)],
    "debian-policy": [("en", "usr/share/doc/debian-policy/policy.html", PAGE)],
    "developers-reference": [("en", "usr/share/developers-reference", PAGE)],
    "debian-faq": [("en", "usr/share/doc/debian/FAQ", r"\.en\.html$")],
    "debian-faq-zh-cn": [("zh", "usr/share/doc/debian/FAQ", r"\.zh-cn\.html$")],
    "debian-edu-doc-en": [("en", "usr/share/doc/debian-edu-doc-en", PAGE)],
    "debian-edu-doc-zh-cn": [("zh", "usr/share/doc/debian-edu-doc-zh-cn", PAGE)],
    "maint-guide": [("en", "usr/share/doc/maint-guide/html", r"\.en\.html$")],
    "maint-guide-zh-cn": [("zh", "usr/share/doc/maint-guide-zh-cn/html", PAGE)],
    "debmake-doc": [("en", "usr/share/doc/debmake-doc/html", r"\.en\.html$"),
                    ("zh", "usr/share/doc/debmake-doc/html", r"\.zh-cn\.html$")],
    "installation-guide-amd64": [("en", "usr/share/doc/installation-guide-amd64/en", PAGE),
                                 ("zh", "usr/share/doc/installation-guide-amd64/zh_CN", PAGE)],
    "libreoffice-help-en-us": [("en", "usr/share/libreoffice/help/en-US/text", PAGE)],
    "libreoffice-help-zh-cn": [("zh", "usr/share/libreoffice/help/zh-CN/text", PAGE)],
    "manpages": [("en", "usr/share/man", MAN)],
    "manpages-dev": [("en", "usr/share/man", MAN)],
    "manpages-zh": [("zh", "usr/share/man/zh_CN", MAN)],
    "perl-doc": [("en", "usr/share/perl", r"\.pod$")],
    "doc-debian": [("en", "usr/share/doc/debian", r"^[a-z-]+\.txt(\.gz)?$")],
    "fortunes": [("en", "usr/share/games/fortunes", r"^[a-z-]+$")],
    "fortunes-zh": [("zh", "usr/share/games/fortunes", r"^[a-z0-9-]+$")],
}
# Offensive or drawn: no text to learn from.
FORTUNES_LEFT_OUT = {"ascii-art", "ethnic", "men-women", "sex", "politics", "translate-me"}
# Pages of a translation that are still mostly English would only repeat the other side.
LEAST_HAN = 0.10
PLAN_VERSION = 1


def fail(status, message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


def run(command, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        fail(69, f"'{command[0]}' is not installed: the demo's text comes from Debian's packages")
    return done


def cached_package(cache, package):
    """Path of a downloaded .deb, or None."""
    found = sorted(f for f in os.listdir(cache)
                   if f.startswith(package + "_") and f.endswith(".deb"))
    return os.path.join(cache, found[-1]) if found else None


updated = []  # apt-get update is tried once


def download(cache, package):
    """Into a folder of its own first, so that a cut download is never taken for the package."""
    part = os.path.join(cache, ".part")
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    # As root apt would switch to a user that may not write here.
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    done = run(command, cwd=part)
    if done.returncode != 0 and not updated:
        updated.append(True)
        print("apt-get update: the package lists may be old or missing", flush=True)
        run(([] if os.geteuid() == 0 else ["sudo", "-n"]) + ["apt-get", "-q", "update"])
        done = run(command, cwd=part)
    files = [f for f in os.listdir(part) if f.endswith(".deb")]
    if done.returncode != 0 or not files:
        why = (done.stderr.strip() or "no file came").splitlines()[-1]
        fail(69, f"cannot download package {package}: {why}. Check the network, or run "
                 "'apt-get update' (with sudo) when the package is unknown")
    os.replace(os.path.join(part, files[0]), os.path.join(cache, files[0]))
    shutil.rmtree(part)
    return os.path.join(cache, files[0])


def unpack(cache, package, deb):
    """Unpacks with dpkg-deb, once per version; returns the folder."""
    folder = os.path.join(cache, "unpacked", os.path.basename(deb)[:-4])
    if os.path.isdir(folder):
        return folder
    part = folder + ".part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    done = run(["dpkg-deb", "-x", deb, part])
    if done.returncode != 0:
        os.remove(deb)
        fail(65, f"{deb} is broken and was removed ({done.stderr.strip()}): run this again")
    os.rename(part, folder)
    return folder


def version_of(deb):
    return os.path.basename(deb)[:-4].split("_")[1].replace("%3a", ":")


TAGS = re.compile(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>")
HAN = re.compile(r"[\u3400-\u9fff]")
LETTER = re.compile(r"[A-Za-z]")


def han_share(path):
    data = (gzip.open(path) if path.endswith(".gz") else open(path, "rb")).read()
    text = html.unescape(TAGS.sub(" ", data.decode("utf-8", "replace")))
    han, latin = len(HAN.findall(text)), len(LETTER.findall(text))
    return 3 * han / max(1, 3 * han + latin)


def fortunes(path):
    """The pieces of a fortune file, which stand between lines of '%'."""
    text = open(path, encoding="utf-8", errors="replace").read()
    text = re.sub(r"\x1b\[[0-9;]*m|\x08.", "", text)  # colours, overstrikes
    return [p.strip("\n") for p in re.split(r"(?m)^%\s*$", text) if p.strip()]


def select(package, folder, out):
    """Copies what the plan names; returns [(language, files, bytes)]."""
    result = []
    for language, inside, pattern in PLAN[package]:
        root = os.path.join(folder, inside)
        target = os.path.join(out, language, package)
        files = size = 0
        for parent, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(parent, name)
                if not re.search(pattern, name) or os.path.islink(path):
                    continue
                if package.startswith("fortunes"):
                    if name in FORTUNES_LEFT_OUT:
                        continue
                    pieces = fortunes(path)
                    # Poems and sayings are short: a document is a handful of them.
                    lines = ["\n\n".join(pieces[i:i + 8]) for i in range(0, len(pieces), 8)]
                    data = "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n"
                                   for t in lines).encode()
                    name += ".jsonl"
                else:
                    if language == "zh" and han_share(path) < LEAST_HAN:
                        continue
                    with open(path, "rb") as f:
                        data = f.read()
                to = os.path.join(target, os.path.relpath(parent, root), name)
                os.makedirs(os.path.dirname(to), exist_ok=True)
                with open(to, "wb") as f:
                    f.write(data)
                files += 1
                size += len(data)
        if files == 0:
            fail(65, f"package {package} holds no {inside} files like {pattern}: it has changed; "
                     "mend PLAN in tools/demo_corpus.py")
        result.append((language, files, size))
    return result


def licence(folder, package):
    doc = os.path.join(folder, "usr/share/doc", package)
    path = os.path.join(doc, "copyright")
    if os.path.islink(doc):  # documentation shared with another package
        same = f"as package {os.path.basename(os.readlink(doc))}"
        return [same], same
    if not os.path.exists(path):
        fail(65, f"package {package} has no copyright file: its text cannot be used")
    text = open(path, encoding="utf-8", errors="replace").read()
    names = []
    for line in re.findall(r"(?m)^License:\s*(\S.*)$", text):
        if line.strip() not in names:
            names.append(line.strip())
    return names, text.rstrip()


def human(n):
    return f"{n / 1e6:.1f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--cache", metavar="DIR", help="downloaded packages (OUT.cache)")
    args = parser.parse_args()
    out = os.path.abspath(args.out)
    cache = os.path.abspath(args.cache or out + ".cache")
    done_file = os.path.join(out, "complete.json")
    plan = json.loads(json.dumps({"version": PLAN_VERSION, "plan": PLAN}))
    if os.path.exists(done_file):
        with open(done_file) as f:
            done = json.load(f)
        if done.get("made_of") == plan:
            for language, size in done["bytes"].items():
                print(f"{out}/{language}: {human(size)}")
            print("complete already: nothing to do")
            return
    elif os.path.isdir(out) and os.listdir(out):
        fail(64, f"{out} is not empty and was not made by this script: choose another folder")
    os.makedirs(cache, exist_ok=True)
    part = out + ".partial"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    totals, report = {}, []
    began = time.time()
    for number, package in enumerate(PLAN, 1):
        deb = cached_package(cache, package)
        how = "cached"
        if deb is None:
            deb, how = download(cache, package), "downloaded"
        folder = unpack(cache, package, deb)
        selected = select(package, folder, part)
        for language, _, size in selected:
            totals[language] = totals.get(language, 0) + size
        names, text = licence(folder, package)
        report.append((package, version_of(deb), selected, names, text))
        what = ", ".join(f"{l} {n} files {human(s)}" for l, n, s in selected)
        print(f"[{number}/{len(PLAN)}] {package} {version_of(deb)} ({how}, "
              f"{human(os.path.getsize(deb))}): {what}", flush=True)
    with open(os.path.join(part, "LICENCES.txt"), "w", encoding="utf-8") as f:
        f.write("Text of the demo, from Debian's packages; each under its own licence.\n\n")
        for package, version, _, names, _ in report:
            f.write(f"{package} {version}: {', '.join(names) or 'see below'}\n")
        for package, version, _, _, text in report:
            f.write(f"\n{'=' * 78}\n{package} {version}: debian/copyright\n{'=' * 78}\n{text}\n")
    with open(os.path.join(part, "complete.json"), "w") as f:
        json.dump({"made_of": plan, "bytes": totals,
                   "packages": {p: v for p, v, _, _, _ in report}}, f, indent=1)
    shutil.rmtree(out, ignore_errors=True)
    os.rename(part, out)
    for language, size in totals.items():
        print(f"{out}/{language}: {human(size)} of raw sources")
    print(f"licences: {out}/LICENCES.txt ({time.time() - began:.0f} s)")


if __name__ == "__main__":
    main()

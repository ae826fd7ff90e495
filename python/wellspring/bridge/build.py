"""The bridge to PyTorch: where one is, and compiling one (standard library only).

    python build.py --where    prints VERSION;FOLDER of the PyTorch of this Python, nothing when it has none
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def find_torch():
    """(version without its local part, folder) of the installed PyTorch, without importing it; or None."""
    spec = importlib.util.find_spec("torch")
    if not spec or not spec.submodule_search_locations:
        return None
    folder = list(spec.submodule_search_locations)[0]
    try:
        with open(os.path.join(folder, "version.py"), encoding="utf-8") as f:
            version = re.search(r"^__version__ = '([^'+]+)", f.read(), re.M)
    except OSError:
        return None
    return (version[1], folder) if version else None


def cached(version):
    """Where a bridge that was compiled on first use lies: its name changes with its source."""
    digest = hashlib.sha256()
    for name in ("bridge.cpp", "bridge.h", "composite.h"):
        with open(os.path.join(HERE, name), "rb") as f:
            digest.update(f.read())
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "wellspring", f"torch-{version}-{digest.hexdigest()[:12]}.so")


def compile_bridge(version, folder):
    """Compiles the bridge into the cache and returns its path (about 20 seconds, once for a version)."""
    path = cached(version)
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if not compiler:
        raise ImportError(f"wellspring.torch has no bridge for PyTorch {version} yet, and no C++ compiler to make it: "
                          "install g++, or install wellspring again with this PyTorch in the environment")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = f"{path}.{os.getpid()}"
    print(f"wellspring: compiling the bridge for PyTorch {version}, once ...", file=sys.stderr, flush=True)
    command = [compiler, "-O1", "-std=c++20", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{HERE}", f"-I{folder}/include",
               f"-I{folder}/include/torch/csrc/api/include",
               os.path.join(HERE, "bridge.cpp"), "-o", fresh, f"{folder}/lib/libtorch_cpu.so", f"{folder}/lib/libc10.so"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ImportError(f"wellspring.torch: the bridge does not compile for PyTorch {version}:\n{done.stderr[-2000:]}")
    os.replace(fresh, path)
    return path


def bridge_for(version, folder):
    """The path of the bridge for a PyTorch: the package's, the cache's, or a fresh one."""
    for path in (os.path.join(HERE, f"torch-{version}.so"), cached(version)):
        if os.path.exists(path):
            return path
    return compile_bridge(version, folder)


if __name__ == "__main__":
    found = find_torch()
    print(";".join(found) if found else "")

"""For tests that compare with Python packages."""
import importlib
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def need(modules, without, get="./dev setup --peers"):
    """Goes on under a Python that has all of these: this one, or the one that WELLSPRING_PEERS names. Without it the test
    is left out (status 77) with a note that says what stands in for it."""
    try:
        for name in modules:
            importlib.import_module(name)
    except ImportError:
        peers = os.environ.get("WELLSPRING_PEERS")
        if not peers or os.environ.get("WELLSPRING_PEER_TEST"):
            print(f"note: no {' and '.join(f'`{m}`' for m in modules)} here ({get}): {without}")
            sys.exit(77)
        os.environ["WELLSPRING_PEER_TEST"] = "1"  # once
        os.execv(peers, [peers] + sys.argv)


def build():
    """The build folder: the first argument that is no option, else `build`."""
    return os.path.abspath(next((a for a in sys.argv[1:] if not a.startswith("-")), os.path.join(ROOT, "build")))

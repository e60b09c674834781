"""Makes the measurement programs importable; without PyTorch there is nothing here to test."""

import sys
from importlib.util import find_spec
from pathlib import Path

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
sys.path.append(str(Path(__file__).resolve().parents[2] / "calibrate"))

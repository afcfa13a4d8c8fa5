"""The edge of the tests of store and forward, here in front of three boxes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "forward"))
sys.path.append(str(Path(__file__).parent.parent / "edge"))
sys.path.append(str(Path(__file__).parent.parent / "trust"))

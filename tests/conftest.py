"""Every test runs with the network cut off, however pytest was started (see tests/offline.py)."""

import os
import runpy
import sys

from tests import offline

os.environ.update(offline.environment())
if "sitecustomize" not in sys.modules or not hasattr(sys.modules["sitecustomize"], "NetworkGuardError"):
    runpy.run_path(str(offline.GUARD / "sitecustomize.py"))

"""What runs needs no development package: the demo in an environment that is made of requirements.lock alone, as the image is.

python -m tests.project.runtime

It downloads what runs (300 MB) and takes minutes, so it is no part of the suite: `make check-runtime`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.core.home import PROJECT_ROOT

_IMPORTS = "import pipeline.cli.app, orchestration.definitions, orchestration.ui.webserver, orchestration.ui.daemon"
_BUILD = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"


def main() -> None:
    """Install, import, run; ends with the exit code of the first step that fails."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "environment" / "bin" / "python"
        wheels, home = Path(folder) / "wheels", Path(folder) / "home"
        wheels.mkdir()
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run(sys.executable, "-m", "venv", python.parent.parent)
        _run(*pip, "--require-hashes", "-r", PROJECT_ROOT / "requirements.lock")
        _run(sys.executable, "-c", _BUILD, wheels)
        _run(*pip, "--no-index", *wheels.glob("*.whl"))
        _run(python, "-c", _IMPORTS)
        billhouse = python.with_name("billhouse")
        _run(billhouse, "--help")
        _run(billhouse, "--home", home, "demo")
    print("requirements.lock is all that runs")


def _run(*command: object) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ran = subprocess.run([str(word) for word in command], cwd=PROJECT_ROOT, env=environment, check=False)
    if ran.returncode:
        sys.exit(ran.returncode)


if __name__ == "__main__":
    main()

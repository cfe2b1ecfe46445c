"""What a stranger does with a wheel or an sdist: install it into a fresh environment and go through the tutorial.

    python tests/packaging/fresh.py PYTHON FILE ...

The exact versions of `locks/` hold where there are some for that Python. Nothing of the checkout is imported by the
tutorial: its commands run elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(python: str, archive: Path, place: Path) -> None:
    """Install into `place` and run every block of the tutorial with what is installed there."""
    subprocess.run([python, "-m", "venv", place], check=True)
    programs = place / "bin"
    version = output(programs / "python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    lock = ROOT / "locks" / f"{version}.txt"
    environment = {
        **os.environ,
        **({"PIP_CONSTRAINT": str(lock), "PIP_BUILD_CONSTRAINT": str(lock)} if lock.exists() else {}),
    }
    pip = [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{archive}[demo,test]"], check=True, env=environment)
    origin = output(programs / "python", "-c", "import trainctl; print(trainctl.__file__)")
    if not Path(origin).is_relative_to(place.resolve()):
        raise SystemExit(f"trainctl is imported from {origin}, not from {place}")
    said = output(programs / "trainctl", "--version")
    tests = ["tests/docs/test_blocks.py", "-k", "tutorial", "-p", "no:cacheprovider", "-o", "pythonpath=", "-q"]
    subprocess.run([programs / "pytest", *tests], check=True, cwd=ROOT)
    print(f"{archive.name} on Python {version}: {said}, the tutorial passes", flush=True)


def output(*command: object) -> str:
    """Return what a command prints, run where no checkout is found."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout.strip()


def main() -> None:
    python, *archives = sys.argv[1:]
    for archive in archives:
        with tempfile.TemporaryDirectory() as folder:
            check(python, Path(archive).resolve(), Path(folder) / "environment")


if __name__ == "__main__":
    main()

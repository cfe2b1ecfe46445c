"""Mutation score of `trainctl/config`: which share of small changes to its code makes a test fail.

    python tests/mutation.py [FILE ...] [--sample COUNT] [--seed SEED] [--at-least PERCENT]

By mutmut, in a copy of the tree in `.venv-mutation/`, with the tests and examples of `trainctl/config` alone. A mutant
that no test reaches counts as one that survived. Of a sample of n mutants the score is known to within
2 * sqrt(score * (1 - score) / n) (two standard errors): 1,000 of them tell 85 % to within 2.3.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-mutation"
CAUGHT = ("killed", "timeout", "segfault", "caught_by_type_check")
SURVIVED = ("survived", "no_tests", "suspicious")


def copy_tree(tree: Path) -> None:
    """Copy what git tracks as it lies here, so that nothing is changed in the checkout."""
    shutil.rmtree(tree, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)


def configure(tree: Path, mutated: list[str]) -> None:
    """Tell mutmut what is changed and by which tests that is noticed."""
    chosen = {
        "source_paths": ["trainctl"],
        "only_mutate": mutated,
        "also_copy": ["tests", "conf", "hydra_plugins", "train.py", "digits.py", "README.md", "docs", "examples"],
        "pytest_add_cli_args": ["-p", "no:randomly"],
        "pytest_add_cli_args_test_selection": ["tests/config", "trainctl/config"],
    }
    lines = [f"{name}=\n" + "".join(f"    {value}\n" for value in values) for name, values in chosen.items()]
    (tree / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))


def environment() -> Path:
    """Return the Python of an environment with mutmut, which sees the packages of this one."""
    python = PLACE / "bin" / "python"
    if not (PLACE / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "mutmut>=3.8"], check=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # a .pth file: what is installed for development, but no editable install, which would hide the changed code
        installed = "".join(f"{path}\n" for path in sys.path if path.endswith("site-packages"))
        (PLACE / "lib" / version / "site-packages" / "development.pth").write_text(installed)
        (PLACE / "complete").touch()
    return python


def drawn(tree: Path, count: int, seed: int) -> list[str]:
    """Draw some of the mutants that mutmut has made."""
    made = [json.loads(path.read_text())["exit_code_by_key"] for path in sorted((tree / "mutants").rglob("*.meta"))]
    names = sorted(name for each in made for name in each)
    print(f"{min(count, len(names))} of {len(names)} mutants, drawn by seed {seed}")
    return random.Random(seed).sample(names, min(count, len(names)))


def main() -> None:
    """Run, and print the score; end with 1 where it is lower than asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="below trainctl/config; all of them without")
    parser.add_argument("--sample", type=int, metavar="COUNT", help="only so many changes, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-least", type=float, default=85.0, metavar="PERCENT")
    given = parser.parse_args()
    mutated = [f"trainctl/config/{Path(name).name}" for name in given.files] or ["trainctl/config/*"]
    python, tree = environment(), PLACE / "tree"
    copy_tree(tree)
    configure(tree, mutated)
    words = [python, "-m", "mutmut"]
    workers = str(len(os.sched_getaffinity(0)))
    if given.sample is None:
        chosen = []
    else:  # a name of none: the changes are made, and nothing is run
        subprocess.run([*words, "run", "none"], cwd=tree, check=False, stdout=subprocess.DEVNULL)
        chosen = drawn(tree, given.sample, given.seed)
    subprocess.run([*words, "run", "--max-children", workers, *chosen], cwd=tree, check=True)
    subprocess.run([*words, "export-cicd-stats"], cwd=tree, check=True, stdout=subprocess.DEVNULL)
    counts = json.loads((tree / "mutants" / "mutmut-cicd-stats.json").read_text())
    caught, survived = (sum(counts.get(name, 0) for name in names) for names in (CAUGHT, SURVIVED))
    if not caught + survived:
        sys.exit(f"nothing was changed in {', '.join(mutated)}")
    score = 100 * caught / (caught + survived)
    print(f"{', '.join(mutated)}: {caught} of {caught + survived} mutants made a test fail: {score:.1f} %")
    print(f"which survived: cd {tree} && {python} -m mutmut results; then `mutmut show NAME`")
    if score < given.at_least:
        sys.exit(f"the score is lower than {given.at_least:g} %")


if __name__ == "__main__":
    main()

"""Fuzzing that follows coverage (atheris): `python -m tests.fuzz [seconds for each target] [target...]`.

What it finds is written to .cache/fuzz/<target>/ and goes on from there the next time; a failure ends it, and the
input lies beside as crash-*. One process for each target: the fuzzer never returns.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = ("images", "events", "forms", "documents")
FOLLOWED = ["providers.kit", "app.http.bodies", "python_multipart"]


def fuzz(name: str, seconds: str) -> None:
    """Fuzz one target in this process, to its end."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=FOLLOWED):
        for module in ("providers.kit.images", "providers.kit.lift", "providers.kit.sse", "app.http.bodies"):
            import_module(module)
    target = import_module("tests.fuzz.targets").TARGETS[name]
    folder = ROOT / ".cache" / "fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-max_len=4096", "-timeout=10"]
    atheris.Setup([sys.argv[0], str(folder), *options], target.check)
    atheris.Fuzz()


def main(seconds: str, names: list[str]) -> int:
    """Every target in turn, in processes of their own; the first failure's status."""
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, seconds]
        if status := subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603 - ourselves
            return status
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(*sys.argv[2:4])
    sys.exit(main((sys.argv[1:] or ["60"])[0], sys.argv[2:] or list(NAMES)))

"""What must be true of the repository itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import parse

ROOT = Path(__file__).parent.parent
MODULES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("providers/**/*.py")])
LOCKS = sorted([*ROOT.glob("requirements*.lock"), *ROOT.glob("tests/compat/*.lock")])
FILE_LINES = 300
FUNCTION_LINES = 60
DRAIN_SECONDS = 310

VARIABLES = frozenset(
    re.findall(
        r"\S+",
        """
    PINHOLE_HOST PINHOLE_PORT PINHOLE_CONFIG PINHOLE_SANDBOX PINHOLE_API_KEYS PINHOLE_PUBLIC_URL PINHOLE_DATA_DIR
    PINHOLE_POLICY PINHOLE_DEFAULT_MODEL PINHOLE_DEADLINE_SECONDS PINHOLE_MAX_BODY_MB PINHOLE_SECRET PINHOLE_ADMIN_KEY
    REDIS_URL DATABASE_URL
    OPENAI_API_KEY GEMINI_API_KEY DASHSCOPE_API_KEY MINIMAX_API_KEY ZAI_API_KEY ZHIPUAI_API_KEY STABILITY_API_KEY
    OPENAI_BASE_URL GEMINI_BASE_URL DASHSCOPE_BASE_URL MINIMAX_BASE_URL ZAI_BASE_URL STABILITY_BASE_URL
    REPLICATE_API_TOKEN REPLICATE_BASE_URL
    HTTPS_PROXY NO_PROXY SSL_CERT_FILE
""",
    )
)

# Written in pieces, so that this file does not contain what it looks for.
REGISTRIES = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "yarn" + "pkg.com", "crates" + ".io")
LOCAL_PATH = re.compile(r"(?<![\w.$}/-])(?:/(?:work|root|home|Users)/\w|file:///" + r"\w*opt/)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tracked() -> list[Path]:
    """Files that are in the repository or about to be; an unpacked archive has no list to ask for."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()  # noqa: S603  a constant
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def compose() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(document, dict)
    return document


def requirements(lock: Path) -> list[str]:
    """The logical lines of a lock file."""
    return [line for line in lock.read_text().replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_a_file_is_short(module: Path) -> None:
    """A module has at most 300 lines."""
    lines = len(module.read_text().splitlines())
    assert lines <= FILE_LINES, f"{named(module)} has {lines} lines: find the concept it hides"


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_a_function_is_short(module: Path) -> None:
    """No function body, docstring aside, is longer than 60 lines."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= FUNCTION_LINES, f"{named(module)}: {node.name} has {lines} lines"


def test_core_is_the_standard_library_alone() -> None:
    """The language imports nothing but the standard library and itself."""
    allowed = sys.stdlib_module_names | {"providers"}
    for module in (ROOT / "providers" / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            strange = [name for name in names if name.split(".")[0] not in allowed]
            strange += [
                name for name in names if name.split(".")[0] == "providers" and name.split(".")[1:2] != ["core"]
            ]
            assert not strange, f"{named(module)} imports {strange}"


def test_no_test_patches() -> None:
    """Seams are constructor parameters, so no test uses a mock library or a patch."""
    patching = re.compile(
        r"^\s*(?:from|import) (?:unittest\.mock|unittest import mock|mock\b)|\bmonkey" + r"patch\b", re.MULTILINE
    )
    guilty = [named(path) for path in (ROOT / "tests").rglob("*.py") if patching.search(path.read_text())]
    assert not guilty


@pytest.mark.parametrize(
    "path", [path for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts], ids=named
)
def test_every_test_says_what_must_be_true(path: Path) -> None:
    """Each test has a docstring."""
    silent = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent, f"{named(path)}: {silent}"


@pytest.mark.parametrize("lock", LOCKS, ids=named)
def test_a_lock_has_hashes_and_no_address(lock: Path) -> None:
    """Every requirement of a lock is one exact version with SHA-256 hashes, and no line names an index."""
    wanted = re.compile(r"^[a-z0-9._-]+==[^\s;]+(?: ; [^#]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*$")
    strange = [line[:80] for line in requirements(lock) if not wanted.match(line)]
    assert not strange
    assert "://" not in lock.read_text()


def test_the_locks_agree() -> None:
    """What runs in production is what is tested: the test lock holds the same versions, and more."""
    runtime = set(requirements(ROOT / "requirements.lock"))
    assert runtime < set(requirements(ROOT / "requirements-test.lock"))


def test_the_locks_cover_the_project() -> None:
    """Each dependency that pyproject.toml names is in the lock that installs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    for lock, wanted in (
        ("requirements.lock", [*project["project"]["dependencies"], *groups["build"]]),
        ("requirements-test.lock", groups["test"]),
    ):
        locked = {line.split("==")[0] for line in requirements(ROOT / lock)}
        names = {re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0].lower().replace("_", "-") for need in wanted}
        assert names <= locked, f"make lock: {names - locked} not in {lock}"


def test_the_node_lock_names_no_registry() -> None:
    """The Node packages come from whatever registry the machine is set to."""
    assert '"resolved"' not in (ROOT / "tests" / "compat" / "node" / "package-lock.json").read_text()


def test_no_file_names_a_registry_or_a_machine() -> None:
    """No tracked file holds a package registry's host or a path of somebody's machine."""
    guilty = []
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        guilty += [f"{named(path)}: {host}" for host in REGISTRIES if host in text]
        guilty += [f"{named(path)}: {found.group()}" for found in LOCAL_PATH.finditer(text)]
    assert not guilty


def test_env_example_names_every_variable() -> None:
    """The example environment has each variable on its own line, with a sentence above it."""
    lines = (ROOT / "deploy" / ".env.example").read_text().splitlines()
    named_there = {}
    for above, line in pairwise(lines):
        if found := re.match(r"#?([A-Z_]+)=", line):
            named_there[found.group(1)] = above
    assert set(named_there) >= VARIABLES, VARIABLES - set(named_there)
    assert all(above.startswith("# ") for above in named_there.values())


def test_compose_demands_caller_keys() -> None:
    """Compose refuses to start without PINHOLE_API_KEYS."""
    environment = compose()["services"]["gateway"]["environment"]
    assert environment["PINHOLE_API_KEYS"].startswith("${PINHOLE_API_KEYS:?")


def test_compose_waits_longer_than_the_drain() -> None:
    """A stopped gateway has time to finish what was paid for."""
    grace = compose()["services"]["gateway"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > DRAIN_SECONDS


def test_compose_keeps_redis_to_itself() -> None:
    """Redis is published to no other machine and never pushes a limit out."""
    redis = compose()["services"]["redis"]
    assert "ports" not in redis
    assert re.search(r"^maxmemory-policy noeviction$", (ROOT / "deploy" / "redis.conf").read_text(), re.MULTILINE)


def test_kubernetes_waits_longer_than_the_drain() -> None:
    """Its probes are the gateway's, its config file can be read, and its grace is above all that a stop waits for."""
    documents = [*yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())]
    config, deployment = documents[0], documents[1]
    pod = deployment["spec"]["template"]["spec"]
    (gateway,) = pod["containers"]
    pause = int(gateway["lifecycle"]["preStop"]["exec"]["command"][1])

    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS + pause
    assert {gateway[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")} == {"/readyz"}
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert parse(config["data"]["config.yaml"], {}).redis.share * deployment["spec"]["replicas"] <= 1


def test_the_image_is_installed_as_make_does() -> None:
    """Image and make run the same install script, and the image runs as a numbered user."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "RUN deploy/install.sh " in dockerfile
    assert "deploy/install.sh $(VENV) requirements.lock" in (ROOT / "Makefile").read_text()
    assert re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", dockerfile, re.MULTILINE)
    assert re.search(r"^ENTRYPOINT \[", dockerfile, re.MULTILINE)


def test_the_image_gets_every_file_that_it_copies() -> None:
    """What the Dockerfile copies from here is let through by .dockerignore."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {source for line in lines for source in line.split()[:-1]} == allowed


@pytest.mark.parametrize(
    "script",
    ["deploy/install.sh", "deploy/smoke.sh", "tests/ensure-services.sh", "tests/compat/environments.sh", ".ci/run"],
)
def test_scripts_can_be_run(script: str) -> None:
    """A script is executable and stops at the first error."""
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert re.search(r"^set -eu", path.read_text(), re.MULTILINE)


def test_every_make_target_has_its_sentence() -> None:
    """`make help` can say what each target does."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert targets is not None
    silent = [
        name for name in targets.group(1).split() if not re.search(rf"^{name}:.* ## [A-Z]", makefile, re.MULTILINE)
    ]
    assert not silent

"""LiteLLM and Portkey, when somebody has installed them; see README.md."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import targets, tools
from benchmarks.cases import GEMINI, OPENAI, Case
from benchmarks.material import KEY
from benchmarks.measure import Bench
from benchmarks.targets import Target

LITELLM = """
model_list:
  - {{model_name: {openai}, litellm_params: {{model: openai/{openai}, api_key: made-up, api_base: "{origin}/v1"}}}}
  - {{model_name: {gemini}, litellm_params: {{model: gemini/{gemini}, api_key: made-up, api_base: "{origin}"}}}}
general_settings: {{master_key: {key}}}
litellm_settings: {{drop_params: true}}
"""
ABLE = {
    "litellm": {"gen1k", "gen1m5", "gen8m", "gem1m5", "edit"},
    "portkey": {"gen1k", "gen1m5", "gen8m"},  # its edits fail on Node 20, its Gemini answers are chats
}


def able(bench: Bench, peer: Target, case: Case) -> bool:
    """Whether the peer does this case: one request is tried, and its failure is told."""
    if case.name not in ABLE[peer.name]:
        return False
    try:
        bench.verify(peer, case)
    except SystemExit as failure:
        print(f"{case.name:12} {peer.name} cannot: {failure}", flush=True)
        return False
    return True


@contextmanager
def litellm(program: Path, origin: str, work: Path) -> Iterator[Target]:
    """One worker, a master key, no database, no callbacks."""
    folder = work / "litellm"
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(LITELLM.format(openai=OPENAI, gemini=GEMINI, origin=origin, key=KEY))
    port = tools.free_port()
    env = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with targets.process("litellm", port, command, tools.cores()[1], env) as target:
        yield target


@contextmanager
def portkey(folder: Path, origin: str) -> Iterator[Target]:
    """Its open gateway under node; the upstream is named in each request's headers."""
    node = shutil.which("node")
    if node is None:
        raise SystemExit("Portkey needs node")
    port = tools.free_port()
    main = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {origin}/v1\r\n"
    command = [node, str(main), f"--port={port}", "--headless"]
    env = {"PATH": os.environ["PATH"], "NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}
    with targets.process("portkey", port, command, tools.cores()[1], env) as target:
        yield Target(target.name, target.port, target.pid, headers)

"""docs/reliability.md tells what the scenarios prove, and its examples work."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.faults.scenarios import SCENARIOS
from tests.gateway import Gateway

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()


def test_the_page_has_the_rows_of_the_table() -> None:
    """Each scenario is a row, word by word and in order, and no other row is there."""
    rows = [line for line in PAGE.splitlines() if re.match(r"\| `[\w-]+` \| .* \| .* \| .* \| .* \|", line)]

    assert rows == [scenario.row for scenario in SCENARIOS]


def test_the_examples_against_silent_connections_work(sandbox: Gateway) -> None:
    """Streaming, the results route and a repeat: each example, as it is printed, ends with a picture."""
    examples = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    endings = ('"type":"image_generation.completed"', '"b64_json"', '"b64_json"')

    assert len(examples) == len(endings)
    for example, ending in zip(examples, endings, strict=True):
        here = example.replace("http://127.0.0.1:8080", sandbox.url).replace("curl http", "sleep 5; curl http")
        ran = subprocess.run(["bash", "-c", here], capture_output=True, timeout=100, check=False)  # noqa: S603, S607 - the page's own text
        assert ending in ran.stdout.decode().replace('": "', '":"'), ran

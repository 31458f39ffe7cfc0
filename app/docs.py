"""Writes docs/models.md, errors.md and metrics.md from rows, tables and registry: `python -m app.docs [folder]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.errors import TABLE
from app.telemetry.metrics import Metrics
from providers import discover
from providers.core.errors import UpstreamFailure
from providers.core.prices import MICRO, Prices
from providers.core.provider import Provider
from providers.core.spec import ModelSpec
from providers.core.types import Operation

GENERATED = "Generated from the code by `make docs`; do not edit."


def pages(providers: Sequence[Provider]) -> dict[str, str]:
    """Every generated page by file name."""
    made = {"models.md": _models(providers), "errors.md": _errors(providers), "metrics.md": _metrics()}
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def _models(providers: Sequence[Provider]) -> Iterator[str]:
    yield "# Models"
    yield ""
    yield f"{GENERATED} `GET /v1/models` gives the same as data, and `/explain` what a request would cost."
    yield "`n` is what a request may ask; in brackets what a lenient caller may. Prices are dollars per image."
    for provider in providers:
        yield ""
        yield f"## {provider.name}"
        yield ""
        variables = ", ".join(f"`{credential.env}`" for credential in provider.access.credentials)
        yield f"Needs {variables}." if variables else "Needs nothing."
        yield ""
        yield "| model | does | prompt | n | sizes | quality | options | edits | price | dates |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        yield from (_row(spec) for spec in provider.models)


def _row(spec: ModelSpec) -> str:
    n = f"{spec.n.per_request} ({spec.n.lenient})" if spec.n.lenient else str(spec.n.per_request)
    cells = (
        f"`{spec.id}`",
        " ".join(sorted(operation.value for operation in spec.operations)),
        f"{spec.prompt.max} {spec.prompt.unit}",
        n,
        spec.sizes.describe(),
        _quality(spec),
        ", ".join(_options(spec)) or "-",
        _edits(spec),
        _price(spec.prices),
        _dates(spec),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _options(spec: ModelSpec) -> Iterator[str]:
    for name in sorted(spec.options):
        yield f"{name} (required)" if name in spec.required else name
    for name in sorted(spec.edit_options):
        yield f"{name} (edits)"


def _quality(spec: ModelSpec) -> str:
    words = ", ".join(spec.quality.words) if spec.quality else "-"
    if spec.edit_quality is None or (spec.quality and spec.edit_quality.words == spec.quality.words):
        return words
    return f"{words}; edits: {', '.join(spec.edit_quality.words)}"


def _edits(spec: ModelSpec) -> str:
    if Operation.EDIT not in spec.operations or spec.inputs is None:
        return "-"
    formats = " ".join(spec.inputs.formats)
    total = spec.inputs.total_bytes
    together = f", {total // 1_000_000} MB together" if total else ""
    return f"{spec.inputs.count} x {formats}, {spec.inputs.max_bytes // 1_000_000} MB{together}; mask {spec.mask}"


def _price(prices: Prices | None) -> str:
    if prices is None:
        return "unknown"
    values = sorted({value / MICRO for value in prices.images.values()})
    if not values:
        return "by tokens" if prices.tokens else "unknown"
    spread = f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
    return f"{spread}, billed by tokens" if prices.tokens else spread


def _dates(spec: ModelSpec) -> str:
    parts = [f"checked {spec.checked}"]
    if spec.retired_on:
        parts.append(f"retired {spec.retired_on}")
    if spec.successor:
        parts.append(f"successor `{spec.successor}`")
    return ", ".join(parts)


def _errors(providers: Sequence[Provider]) -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield f"{GENERATED} Every answer that is not a success has OpenAI's envelope:"
    yield '`{"error": {"message", "type", "param", "code"}}`.'
    yield ""
    yield "| status | type | code | when |"
    yield "|---|---|---|---|"
    for kind, row in sorted(TABLE.items(), key=lambda item: (item[1].status, item[1].code or "")):
        code = (row.code or "names the problem") + (", or a finer one" if row.own_code and row.code else "")
        yield f"| {row.status} | `{row.type}` | {code} | {_first_line(kind)} |"
    yield ""
    yield "## What providers say"
    yield ""
    yield "What a provider's own code becomes. A code that no table knows is judged by its HTTP status."
    for provider in providers:
        if provider.failures:
            yield ""
            yield f"### {provider.name}"
            yield ""
            yield "| provider says | status | code |"
            yield "|---|---|---|"
            yield from _table(provider.failures)


def _table(failures: Mapping[str, type[UpstreamFailure]]) -> Iterator[str]:
    for name, kind in failures.items():
        row = next(TABLE[parent] for parent in kind.__mro__ if parent in TABLE)
        yield f"| `{name}` | {row.status} | `{row.code}` |"


def _metrics() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield f"{GENERATED} `GET /metrics`, Prometheus' text format; how to use them: [operations.md](operations.md)."
    yield "No label holds a caller, a prompt or anything else that a request can choose freely."
    yield ""
    yield "| name | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for family in Metrics().families:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
        yield f"| `{family.name}` | {family.kind} | {labels} | {family.help} |"
    yield ""
    yield "On Linux also `process_*`: memory, CPU seconds, open files and start time of the process."


def _first_line(kind: type[BaseException]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")


def main(folder: Path) -> None:
    """Write the pages."""
    for name, text in pages(discover()).items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))

"""The figures as Markdown: each row with what it must be, and whether it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.cases import CASES, HTTPS, Case

BUDGET_MIB = 256  # capacity.bytes, its default
PEERS = ("litellm", "portkey")
INTRODUCTION = """Written by `make bench`; how to read it: [README](../README.md).
Medians of {rounds} rounds that take turns, {c} connections where nothing else is said. `ms` is CPU time of the
gateway's processes a request. With another machine, compare ratios, not milliseconds."""
REPLICAS = """Behind an nginx as balancer, one Redis for all, 32 connections. With two cores the second gateway shares
its core with the balancer, the load, the mock and Redis, which fill it: read the cost of a request, not the rate."""
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; `good` is None where nothing is demanded."""

    what: str
    pinhole: str
    nginx: str = ""
    ratio: str = ""
    must: str = ""
    good: bool | None = None

    def __str__(self) -> str:
        verdict = {None: "", True: "yes", False: "**no**"}[self.good]
        return f"| {self.what} | {self.pinhole} | {self.nginx} | {self.ratio} | {self.must} | {verdict} |"


def table(found: Result) -> str:
    """The main table."""
    head = "| | Pinhole | nginx | ratio | must | met |\n|---|---|---|---|---|---|"
    rows = [*_cases(found), *_https(found), *_redis(found), *_latency(found), *_memory(found), *_slow(found)]
    return "\n".join([head, *map(str, rows)])


def page(found: Result) -> str:
    """The whole page."""
    machine = "\n".join(f"| {name} | {value} |" for name, value in found["machine"].items())
    pieces = [
        "# Results",
        INTRODUCTION.format(**found),
        f"| machine | |\n|---|---|\n{machine}",
        "## Pinhole beside nginx",
        table(found),
        *_peers(found),
        *_replicas(found),
        "## How cost grows",
        "![CPU a request by image size, n, connections and keys](bench.svg)",
        *_sweeps(found),
    ]
    return "\n\n".join(pieces) + "\n"


def _cases(found: Result) -> Iterator[Row]:
    for case in CASES:
        each = found.get("cases", {}).get(case.name)
        if each is None:
            continue
        mine = each["pinhole"]["cost"]
        relay = found["cases"].get(case.relay or case.name, {}).get("nginx", {}).get("cost")
        yield _row(case, mine, relay)
        if case.peer and "litellm" in each:
            share = each["litellm"]["cost"] / mine
            what = f"{case.title}: LiteLLM's CPU over Pinhole's"
            yield Row(what, f"{share:.1f}", must=f">= {case.peer:g}", good=share >= case.peer)


def _row(case: Case, mine: float, relay: float | None) -> Row:
    ratio = mine / relay if relay else None
    texts, good = [], []
    if case.must is not None:
        texts.append(f"<= {case.must:g} x")
        good += [ratio <= case.must] if ratio is not None else []
    if case.must_ms is not None:
        texts.append(f"<= {case.must_ms:g} ms")
        good.append(mine <= case.must_ms)
    return Row(
        case.title,
        f"{mine:.3g} ms",
        f"{relay:.3g} ms" if relay else "",
        f"{ratio:.2f}" if ratio is not None else "",
        ", ".join(texts),
        all(good) if good else None,
    )


def _https(found: Result) -> Iterator[Row]:
    for case in HTTPS:
        if each := found.get("https", {}).get(case.name):
            yield _row(case, each["pinhole"]["cost"], each["nginx"]["cost"])


def _redis(found: Result) -> Iterator[Row]:
    if each := found.get("redis"):
        more = each["redis"]["cost"] - each["embedded"]["cost"]
        yield Row(
            "Redis limiter instead of the embedded one, 1 KiB", f"{more:+.3f} ms", must="<= +0.4 ms", good=more <= 0.4
        )


def _latency(found: Result) -> Iterator[Row]:
    for case in CASES:
        each = found.get("latency", {}).get(case.name)
        if each is None:
            continue
        mine, other = each["pinhole"], each["nginx"]
        small = case.name == "gen1k"
        yield Row(
            f"{case.title}: added at 1 connection, p50 / p95 / p99",
            f"{_three(mine)} ms",
            f"{_three(other)} ms",
            must="p50 <= 1, p99 <= 3 ms" if small else "",
            good=mine["p50"] <= 1 and mine["p99"] <= 3 if small else None,
        )


def _three(each: Result) -> str:
    return " / ".join(f"{each[q]:.2f}" for q in ("p50", "p95", "p99"))


def _memory(found: Result) -> Iterator[Row]:
    if not (each := found.get("memory")):
        return
    mine, other = each["pinhole"], each["nginx"]
    most = mine["idle"] + BUDGET_MIB + 100
    yield Row(
        "memory at its peak, 64 answers of 8 MiB in flight",
        f"{mine['peak_8m']:.0f} MiB",
        f"{other['peak_8m']:.0f} MiB",
        must=f"<= {most:.0f} MiB (idle + {BUDGET_MIB} + 100)",
        good=mine["peak_8m"] <= most,
    )
    yield Row("the same, 1.5 MiB", f"{mine['peak_1m5']:.0f} MiB", f"{other['peak_1m5']:.0f} MiB")
    yield Row("start to first answer", f"{mine['start']:.2f} s", must="<= 1.5 s", good=mine["start"] <= 1.5)
    yield Row("idle memory", f"{mine['idle']:.0f} MiB", must="<= 110 MiB", good=mine["idle"] <= 110)


def _slow(found: Result) -> Iterator[Row]:
    if each := found.get("slow"):
        what = f"/healthz with {each['in_flight']} slow calls in flight, p50 / p99"
        text = f"{each['p50']:.1f} / {each['p99']:.1f} ms"
        yield Row(what, text, must="p99 < 50 ms, no error", good=each["p99"] < 50)


def _peers(found: Result) -> Iterator[str]:
    """What the other gateways took in this run; LiteLLM's figures of another machine where it did not run."""
    here = [name for name in PEERS if any(name in each for each in found.get("cases", {}).values())]
    yield "## Other gateways"
    if "litellm" not in here:
        yield "LiteLLM did not run. Its figures (version 1.109.1) are from another machine: the ratio is an estimate."
    lines = ["| CPU ms a request | Pinhole | LiteLLM | ratio | demanded | Portkey |", "|---|---|---|---|---|---|"]
    for case in CASES:
        each = found.get("cases", {}).get(case.name)
        if each is None or not case.peer:
            continue
        mine = each["pinhole"]["cost"]
        other = each["litellm"]["cost"] if "litellm" in each else case.sheet
        rival = f"{each['portkey']['cost']:.3g}" if "portkey" in each else ""
        ratio = f"{other / mine:.1f}" if other else ""
        lines.append(f"| {case.title} | {mine:.3g} | {other or 0:.3g} | {ratio} | {case.peer:g} | {rival} |")
    yield "\n".join(lines)


def _replicas(found: Result) -> Iterator[str]:
    """One gateway and two, behind a balancer, with one Redis."""
    if not (each := found.get("replicas")):
        return
    yield "## More than one gateway"
    yield REPLICAS
    lines = ["| | one: /s | two: /s | more | one: ms | two: ms |", "|---|---|---|---|---|---|"]
    for case in CASES:
        if case.name in each:
            one, two = each[case.name]["1"], each[case.name]["2"]
            more = f"{two['rate'] / one['rate']:.2f} x"
            rates = f"{one['rate']:.0f} | {two['rate']:.0f} | {more}"
            lines.append(f"| {case.title} | {rates} | {one['cost']:.3g} | {two['cost']:.3g} |")
    yield "\n".join(lines)


def _sweeps(found: Result) -> Iterator[str]:
    """The numbers behind the chart."""
    for name, points in found.get("concurrency", {}).items():
        title = next(case.title for case in CASES if case.name == name)
        lines = [f"| {title}: connections | Pinhole /s | nginx /s | direct /s | Pinhole ms | nginx ms |"]
        lines.append("|---|---|---|---|---|---|")
        for c, each in points.items():
            rates = " | ".join(f"{each[who]['rate']:.0f}" for who in ("pinhole", "nginx", "direct"))
            costs = " | ".join(f"{each[who]['cost']:.3g}" for who in ("pinhole", "nginx"))
            lines.append(f"| {c} | {rates} | {costs} |")
        yield "\n".join(lines)
    grown = found.get("growth", {})
    for name, title in (("size", "image, KiB"), ("n", "n, 256 KiB each")):
        lines = [f"| {title} | Pinhole ms | nginx ms | ratio |", "|---|---|---|---|"]
        for point, each in grown.get(name, {}).items():
            mine, other = each["pinhole"]["cost"], each["nginx"]["cost"]
            shown = f"{int(point) / 1024:g}" if name == "size" else point
            lines.append(f"| {shown} | {mine:.3g} | {other:.3g} | {mine / other:.2f} |")
        if name in grown:
            yield "\n".join(lines)
    if keys := found.get("keys"):
        lines = ["| caller keys | Pinhole ms, 1 KiB |", "|---|---|"]
        yield "\n".join([*lines, *(f"| {count} | {each['cost']:.3g} |" for count, each in keys.items())])

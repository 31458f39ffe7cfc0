"""Four small line charts as one SVG: cost by image size, n, connections and keys. Axes are logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 250, 58, 36, 30
COLOURS = {"Pinhole": "#0b6e8f", "nginx": "#8a8a8a"}
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: lines by name, each a list of (x, ms)."""

    title: str
    ticks: Sequence[tuple[float, str]]
    lines: dict[str, Points]


def drawn(found: dict[str, Any]) -> str:
    """The SVG; panels whose figures are missing are left out."""
    panels = [panel for panel in _panels(found) if any(panel.lines.values())]
    rows = (len(panels) + 1) // 2
    size = f'width="{2 * WIDTH}" height="{rows * HEIGHT + 24}"'
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">']
    out.append(f'<rect {size} fill="white"/>')
    for i, panel in enumerate(panels):
        out.append(f'<g transform="translate({i % 2 * WIDTH},{i // 2 * HEIGHT + 24})">')
        out += [*_frame(panel), *_lines(panel), "</g>"]
    for i, (name, colour) in enumerate(COLOURS.items()):
        out.append(f'<rect x="{LEFT + i * 80}" y="8" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{LEFT + 15 + i * 80}" y="17">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _panels(found: dict[str, Any]) -> Iterator[Panel]:
    grown = found.get("growth", {})
    sizes, counts, keys = grown.get("size", {}), grown.get("n", {}), found.get("keys", {})
    labels = [(float(x), f"{float(x) / 2**20:g}M" if float(x) >= 2**20 else f"{float(x) / 1024:g}K") for x in sizes]
    yield Panel("CPU ms by image size", labels, _both(sizes))
    yield Panel("CPU ms by n, 256 KiB each", [(float(x), x) for x in counts], _both(counts))
    for name, points in found.get("concurrency", {}).items():
        title = {"gen1k": "1 KiB", "gen1m5": "1.5 MiB"}[name]
        yield Panel(f"CPU ms by connections, {title}", [(float(x), x) for x in points], _both(points))
    line = [(float(x), each["cost"]) for x, each in keys.items()]
    yield Panel("CPU ms by caller keys, 1 KiB", [(float(x), f"{int(x):,}") for x in keys], {"Pinhole": line})


def _both(points: dict[str, Any]) -> dict[str, Points]:
    return {name: [(float(x), each[name.lower()]["cost"]) for x, each in points.items()] for name in COLOURS}


def _decades(panel: Panel) -> tuple[int, int]:
    values = [y for line in panel.lines.values() for _, y in line]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _frame(panel: Panel) -> Iterator[str]:
    low, high = _decades(panel)
    yield f'<text x="{LEFT}" y="{TOP - 12}" font-size="13" font-weight="bold">{panel.title}</text>'
    for power in range(low, high + 1):
        y = _y(panel, 10.0**power)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - GAP}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    for value, label in panel.ticks:
        yield f'<text x="{_x(panel, value):.1f}" y="{HEIGHT - GAP + 16}" text-anchor="middle">{label}</text>'


def _lines(panel: Panel) -> Iterator[str]:
    for name, line in panel.lines.items():
        at = [(_x(panel, x), _y(panel, y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        yield f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[name]}"/>' for x, y in at)


def _x(panel: Panel, value: float) -> float:
    first, last = math.log(panel.ticks[0][0]), math.log(panel.ticks[-1][0])
    return LEFT + 10 + (WIDTH - LEFT - GAP - 20) * ((math.log(value) - first) / ((last - first) or 1))


def _y(panel: Panel, value: float) -> float:
    low, high = _decades(panel)
    return HEIGHT - GAP - (HEIGHT - GAP - TOP) * ((math.log10(value) - low) / (high - low))

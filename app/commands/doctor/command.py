"""The command: one line a finding, and an exit code for scripts."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated

import typer

from app.commands.doctor.examination import examined
from app.commands.doctor.finding import Finding, Level


def doctor(
    *,
    ask: Annotated[
        bool, typer.Option("--online", help="Also ask each provider, by requests that cost nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look for what would not work, from settings to storage; exit code 1 on problems."""
    found = asyncio.run(_all(ask=ask, shown=not as_json))
    bad = any(finding.level is Level.PROBLEM for finding in found)
    if as_json:
        checks = [finding.document() for finding in found]
        typer.echo(json.dumps({"ok": not bad, "checks": checks}, indent=2, ensure_ascii=False))
    raise typer.Exit(1 if bad else 0)


async def _all(*, ask: bool, shown: bool) -> list[Finding]:
    found = []
    async for finding in examined(os.environ, asking=ask):
        found.append(finding)
        if shown:
            typer.echo(_line(finding))
    return found


def _line(finding: Finding) -> str:
    remedy = f" {finding.remedy}" if finding.remedy else ""
    return f"{finding.level.value:<8} {finding.check}: {finding.said}.{remedy}".replace("..", ".")

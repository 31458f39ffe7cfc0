"""docs/operations.md names metrics, fields and spans that are there."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path

import yaml

from app.telemetry import REQUEST_ID, JSONFormatter, Telemetry
from app.telemetry.metrics import Metrics
from providers.kit.journal import Journal
from tests.app.test_metrics import entry

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced examples in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_every_metric_that_is_named_exists() -> None:
    """Alerts and advice name series that /metrics gives."""
    known = {family.name for family in Metrics().families}
    named = set(re.findall(r"\bpinhole_[a-z_]+", PAGE))

    assert len(named) >= 6
    assert named <= known


def test_the_alert_rules_are_rules() -> None:
    """Prometheus' form: an alert, its expression, its sentence; labels are those of the metric."""
    labels = {family.name: set(family.labels) for family in Metrics().families}
    rules = next(document for document in map(yaml.safe_load, blocks("yaml")) if "groups" in document)["groups"]

    assert [len(group["rules"]) for group in rules] == [3]
    for rule in rules[0]["rules"]:
        assert {"alert", "expr", "annotations"} <= set(rule)
        for name, matchers in re.findall(r"(pinhole_[a-z_]+)\{([^}]*)\}", rule["expr"]):
            assert set(re.findall(r"(\w+)(?:=|!)", matchers)) <= labels[name]


def test_the_log_line_is_as_shown() -> None:
    """A settled line has the fields of the example, in their order."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JSONFormatter())
    logger = logging.getLogger("pinhole")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    token = REQUEST_ID.set("req_1")
    try:
        Telemetry().settled(entry("r"), Journal())
    finally:
        REQUEST_ID.reset(token)
        logger.setLevel(before)
        logger.removeHandler(handler)

    assert list(json.loads(out.getvalue())) == list(json.loads(blocks("json")[0]))

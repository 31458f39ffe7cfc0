"""docs/operations.md names metrics, fields and spans that are there."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from app.telemetry import REQUEST_ID, JSONFormatter, Telemetry
from app.telemetry.logs import Record
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


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """What is logged inside, as it is written."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JSONFormatter())
    logger = logging.getLogger("pinhole")
    before, factory = logger.level, logging.getLogRecordFactory()
    logger.propagate = False  # to pytest's own handler, which tells files
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logging.setLogRecordFactory(Record)
    try:
        yield out
    finally:
        logging.setLogRecordFactory(factory)
        logger.setLevel(before)
        logger.propagate = True
        logger.removeHandler(handler)


def test_the_log_line_is_as_shown() -> None:
    """A settled line has the fields of the example, in their order."""
    with logged() as out:
        token = REQUEST_ID.set("req_1")
        Telemetry().settled(entry("r"), Journal())
        REQUEST_ID.reset(token)

    assert list(json.loads(out.getvalue())) == list(json.loads(blocks("json")[0]))


def test_a_record_tells_what_lines_need() -> None:
    """The message with its arguments, the fields, and of an error its kind; half a surrogate pair costs no line."""
    logger = logging.getLogger("pinhole")
    with logged() as out:
        logger.info("%s of %d", "one", 2, extra={"fields": {"name": "a\ud800"}})
        logger.warning("%(a)s", {"a": "b"})
        try:
            json.loads("{")
        except ValueError:
            logger.exception("failed")
    first, second, third = map(json.loads, out.getvalue().splitlines())

    assert (first["level"], first["message"], first["name"]) == ("info", "one of 2", "a\ud800")
    assert (second["level"], second["message"]) == ("warning", "b")
    assert (third["kind"], third["message"]) == ("JSONDecodeError", "failed")

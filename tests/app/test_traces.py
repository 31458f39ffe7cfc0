"""Spans arrive at a real OTLP receiver, in one trace, with what an operator needs and nothing that a caller wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.settings import SettingsError
from app.telemetry.traces import OFF
from app.telemetry.tracing import tracer
from tests.gateway import running
from tests.upstreams.collector import Collector, ReceivedSpan
from tests.upstreams.http import Reply
from tests.upstreams.openai import OpenAIStandIn

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
WISH = {"model": "gpt-image-2", "prompt": "a secret garden", "size": "1024x1024", "response_format": "url"}
SERVER, CLIENT = 2, 3


@pytest.fixture
def collector() -> Iterator[Collector]:
    """The receiver."""
    with Collector() as found:
        yield found


def traced(folder: Path, collector: Collector, *replies: Reply, **wish: Any) -> tuple[httpx2.Response, list[str]]:
    """One request through a gateway with traces; returns when all spans were sent. And what the upstream was told."""
    with OpenAIStandIn() as upstream:
        upstream.queue(*replies)
        environ = {
            "OPENAI_API_KEY": upstream.key,
            "OPENAI_BASE_URL": upstream.base_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_SERVICE_NAME": "images",
        }
        with running(folder, environ) as gateway:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
            url = f"{gateway.v1}/images/generations"
            answer = httpx2.post(url, json=WISH | wish, headers=headers, timeout=60)
            httpx2.get(f"{gateway.url}/healthz")
        return answer, [name.lower() for exchange in upstream.exchanges for name, _ in exchange.headers]


def only(found: list[ReceivedSpan]) -> ReceivedSpan:
    """The one there is."""
    assert len(found) == 1, found
    return found[0]


def test_a_request_is_one_trace(tmp_path: Path, collector: Collector) -> None:
    """The caller's trace goes on: a server span, and under it limiter, ledger, the upstream call and the store."""
    answer, told = traced(tmp_path, collector)
    request = only(collector.named("request"))
    upstream = only(collector.named("upstream"))

    assert answer.status_code == 200, answer.text
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (request.parent, request.kind, request.failed) == (PARENT, SERVER, False)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "pinhole.route": "generations",
        "pinhole.request_id": "mine",
    }
    assert request.resource["service.name"] == "images"
    names = {"limiter.spend", "ledger.open", "upstream", "store.put", "limiter.settle", "ledger.settle"}
    assert {span.name for span in collector.spans} == names | {"request"}
    assert {span.parent for span in collector.spans if span.name != "request"} == {request.id}
    assert upstream.kind == CLIENT
    assert upstream.attributes == {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-2",
        "gen_ai.output.type": "image",
        "http.response.status_code": 200,
        "pinhole.attempt": 1,
    }
    assert upstream.seconds <= request.seconds
    assert "traceparent" not in told


def test_each_attempt_is_a_span_of_its_own(tmp_path: Path, collector: Collector) -> None:
    """A retried 429 shows as a failed attempt before the good one, with its status and its error's class."""
    error = {"error": {"message": "slow: a secret garden", "type": "rate_limit_error", "code": "slow_down"}}
    answer, _ = traced(tmp_path, collector, Reply.json(429, error, retry_after="0"))
    first, second = collector.named("upstream")

    assert answer.status_code == 200
    assert (first.failed, first.attributes["http.response.status_code"]) == (True, 429)
    assert (first.attributes["error.type"], first.attributes["pinhole.attempt"]) == ("UpstreamRateLimited", 1)
    assert (second.failed, second.attributes["pinhole.attempt"]) == (False, 2)


def test_a_stream_is_traced_to_its_end(tmp_path: Path, collector: Collector) -> None:
    """The request's span lasts as long as its events."""
    answer, _ = traced(tmp_path, collector, stream=True, response_format="b64_json")

    assert "image_generation.completed" in answer.text
    assert only(collector.named("request")).seconds >= only(collector.named("upstream")).seconds


def test_an_upstream_failure_marks_the_request(tmp_path: Path, collector: Collector) -> None:
    """A 502 is a failed request with its status, and no text of anybody."""
    answer, _ = traced(tmp_path, collector, Reply.json(500, {"error": {"message": "a secret garden is broken"}}))
    request = only(collector.named("request"))

    assert answer.status_code == 502
    assert (request.failed, request.attributes["http.response.status_code"]) == (True, 502)
    assert not [exchange for exchange in collector.exchanges if b"secret garden" in exchange.body]


def test_a_collector_that_is_away_costs_no_request(tmp_path: Path) -> None:
    """Pictures are made whether or not spans can be sent."""
    environ = {"PINHOLE_SANDBOX": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running(tmp_path, environ) as gateway:
        body = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64"}
        assert httpx2.post(f"{gateway.v1}/images/generations", json=body, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "images"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    ],
)
def test_traces_are_off_unless_asked_for(environ: dict[str, str]) -> None:
    """Without an endpoint or an exporter, or when switched off, nothing is made."""
    assert tracer(environ) is OFF


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'; allowed: otlp, none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "allowed: http/protobuf"),
    ],
)
def test_what_is_not_spoken_is_refused_at_start(environ: dict[str, str], words: str) -> None:
    """A setting that would be ignored in silence stops the start instead."""
    with pytest.raises(SettingsError, match=words):
        tracer(environ)


def test_without_the_extra_the_start_names_it() -> None:
    """Where the exporter cannot be imported the message says which extra brings it; without OTEL_* all is well."""
    program = """
import sys
sys.modules["opentelemetry.exporter"] = None
from app.settings import SettingsError
from app.telemetry.traces import OFF
from app.telemetry.tracing import tracer
assert tracer({}) is OFF
assert "opentelemetry.sdk" not in sys.modules
try:
    tracer({"OTEL_TRACES_EXPORTER": "otlp"})
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - ours

    assert "pinhole[otel]" in done.stdout

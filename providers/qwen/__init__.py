"""Qwen-Image, Wan and Wanx on Alibaba Cloud Model Studio (DashScope), by its native API.

Documentation: https://www.alibabacloud.com/help/en/model-studio/qwen-image-generation-and-editing-api-reference
Four endpoints: `text2image`, `image-generation` and `image2image` are asynchronous tasks, `multimodal` answers at
once; a row's `endpoint` says which one its model lives on. Keys, hosts and models belong to a region: the default is
the international one (Singapore), DASHSCOPE_BASE_URL moves it.
"""

from __future__ import annotations

from typing import Final

from providers.core.http import Event, HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Access, Completed, Credential, Failed, Outcome, Partial, Provider
from providers.core.spec import ModelSpec
from providers.qwen import errors
from providers.qwen.answers import read
from providers.qwen.qwen_rows import QWEN_ROWS
from providers.qwen.rows import VENDOR
from providers.qwen.wan_rows import WAN_ROWS
from providers.qwen.wire import compose

MODELS: Final[tuple[ModelSpec, ...]] = (*QWEN_ROWS, *WAN_ROWS)


class Qwen:
    """The vendor behind DashScope. Streams nothing; makes links that live for 24 hours."""

    name = VENDOR
    models = MODELS
    failures = errors.CODES
    access = Access(
        credentials=(Credential("DASHSCOPE_API_KEY", "https://dashscope-intl.aliyuncs.com"),),
        base_url_env="DASHSCOPE_BASE_URL",
        # The state of a task that nobody knows is UNKNOWN, with HTTP 200 (2026-11-22).
        probe="/api/v1/tasks/00000000-0000-0000-0000-000000000000",
    )

    def request(self, call: Call) -> HTTPRequest:
        return compose(call)

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:
        return read(call, response)

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - the protocol's
        return None


PROVIDER: Final[Provider] = Qwen()

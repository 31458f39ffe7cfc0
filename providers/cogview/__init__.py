"""CogView and GLM-Image of Zhipu, on both of its platforms: api.z.ai and open.bigmodel.cn.

Documentation: https://docs.z.ai/api-reference/image/generate-image and https://docs.bigmodel.cn/api-reference
(read 2026-11-22). One call makes one image and answers a link that lives for 30 days. No hosted model edits. Keys
(`id.secret`, shown as they are) belong to one platform: ZAI_API_KEY and ZHIPUAI_API_KEY say which.
"""

from __future__ import annotations

from typing import Any, Final

from providers.cogview import errors
from providers.cogview.answers import read
from providers.cogview.rows import MODELS, VENDOR
from providers.core.http import JSON, Event, HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Access, Completed, Credential, Failed, Outcome, Partial, Provider
from providers.core.types import Size

_USER_ID: Final = range(6, 129)


class CogView:
    """Zhipu's image models. Streams nothing."""

    name = VENDOR
    models = MODELS
    failures = errors.CODES
    access = Access(
        credentials=(
            Credential("ZAI_API_KEY", "https://api.z.ai/api/paas/v4"),
            Credential("ZHIPUAI_API_KEY", "https://open.bigmodel.cn/api/paas/v4"),
        ),
        base_url_env="ZAI_BASE_URL",
        bare_origin=False,
    )

    def request(self, call: Call) -> HTTPRequest:
        """Says nothing of the watermark unasked: false is only for accounts that signed the vendor's waiver."""
        document: dict[str, Any] = {"model": call.spec.wire_id, "prompt": call.prompt}
        if isinstance(call.resolution.wire, Size):
            document["size"] = str(call.resolution.wire)
        if call.quality is not None:
            document["quality"] = call.quality
        if "watermark" in call.options:
            document["watermark_enabled"] = call.options["watermark"]
        if call.end_user is not None and len(call.end_user) in _USER_ID:
            document["user_id"] = call.end_user
        # Without it the mainland platform writes its messages in Chinese.
        headers = {"Accept-Language": "en-US,en"}
        return HTTPRequest(method="POST", url="/images/generations", headers=headers, body=JSON(document))

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:  # noqa: ARG002 - one call, one image
        return read(response)

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - the protocol's
        return None


PROVIDER: Final[Provider] = CogView()

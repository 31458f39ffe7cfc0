"""The vendor's error codes in our classes.

Documentation: https://docs.z.ai/api-reference/api-code (list of 2026-07-11), and the longer list before it.
"""

from __future__ import annotations

import re
from typing import Final

from providers.cogview.rows import VENDOR
from providers.core.errors import (
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.kit.failures import class_for, failure, unreadable

# Real statuses are used, yet 429 also means money and 400 also moderation: the code decides.
CODES: Final[dict[str, type[UpstreamFailure]]] = {
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1005"), UpstreamAuth),
    **dict.fromkeys(("1110", "1111", "1112", "1121", "1220"), UpstreamAuth),
    **dict.fromkeys(("1309", "1314", "1315"), UpstreamAuth),
    **dict.fromkeys(("1200", "1221", "1222", "1230", "1231", "1234"), UpstreamError),
    **dict.fromkeys(("1210", "1212", "1213", "1214", "1215", "1261"), UpstreamBadRequest),
    **dict.fromkeys(("1211", "1311"), UpstreamModelMissing),
    **dict.fromkeys(("1300", "1301"), Refused),
    **dict.fromkeys(("1302", "1303"), UpstreamRateLimited),
    **dict.fromkeys(("1120", "1305", "1312"), UpstreamUnavailable),
    **dict.fromkeys(("1113", "1304", "1308", "1310", "1313"), UpstreamQuota),
    **dict.fromkeys(("1316", "1317", "1318", "1319", "1320", "1321"), UpstreamQuota),
}
STATUSES: Final[dict[int, type[UpstreamFailure]]] = {434: UpstreamAuth, 435: UpstreamBadRequest}
# The API is switched off, or a request id was used twice: nothing was begun.
_NOT_BEGUN: Final = frozenset({"1221", "1222", "1231"})
_FIELDS: Final = {
    "prompt": "prompt",
    "size": "size",
    "quality": "quality",
    "watermark_enabled": "watermark",
    "user_id": "user",
    "model": "model",
}
_FIELD: Final = re.compile(rf"(?<![A-Za-z_])({'|'.join(_FIELDS)})(?![A-Za-z_])")
_NAMING_A_FIELD: Final = frozenset({"1210", "1213", "1214", "1215"})
_OTHER_PLATFORM: Final = (
    " Keys of api.z.ai (ZAI_API_KEY) and open.bigmodel.cn (ZHIPUAI_API_KEY) are not interchangeable."
)


def failed(response: HTTPResponse, code: object, message: object, *, ours: str | None, stage: str) -> UpstreamFailure:
    """The class by the code, then by the status. A code is documented as a string; a number is read too.

    `ours` is a request id, `stage` whose content was refused, should it have been.
    """
    named = str(code) if isinstance(code, str | int) and not isinstance(code, bool) else ""
    kind = CODES.get(named) or STATUSES.get(response.status) or class_for(response.status)
    text = message if isinstance(message, str) else ""
    if kind is UpstreamAuth:
        text = (text or "The credential was refused.") + _OTHER_PLATFORM
    error = failure(
        kind,
        response,
        provider=VENDOR,
        message=text,
        upstream_code=named,
        param=_param(named, text),
        stage=stage if kind is Refused else None,
        upstream_request_id=ours,
    )
    if named in _NOT_BEGUN:
        error.billed = False
    return error


def page(response: HTTPResponse) -> UpstreamFailure:
    """An answer of the edge, not of the API; the vendor's own statuses keep their meaning."""
    kind = STATUSES.get(response.status)
    return failure(kind, response, provider=VENDOR) if kind else unreadable(response, provider=VENDOR)


def _param(code: str, message: str) -> str | None:
    """The caller's name of the field that a message complains of."""
    if code == "1261":
        return "prompt"
    match = _FIELD.search(message) if code in _NAMING_A_FIELD else None
    return _FIELDS[match[1]] if match else None

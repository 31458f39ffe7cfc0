"""Each provider's account: whether it is there and, when asked, whether it answers. By free requests alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from app.commands.doctor.finding import Finding, Installation, fine, problem, warning
from providers.core.errors import UpstreamFailure
from providers.core.http import HTTPRequest
from providers.kit.deployment import Deployment, wire
from providers.kit.transport import HTTPTransport

PATIENCE_SECONDS: Final = 10.0
SUCCESS: Final = range(200, 300)
REFUSED: Final = frozenset({401, 403})
BAD_REQUEST: Final = 400
SERVER_ERRORS_FROM: Final = 500


async def accounts(found: Installation) -> AsyncIterator[Finding]:
    """Whether anything can be called at all."""
    names = [deployment.label for deployment, models in found.registry.deployments if models]
    for deployment, models in found.registry.deployments:
        if not models:
            remedy = "Name its models under providers: in the config file."
            yield warning(f"account {deployment.label}", "serves no model", remedy)
    if found.settings.sandbox:
        yield fine("accounts", "the sandbox answers for every model")
    elif names:
        yield fine("accounts", ", ".join(names))
    else:
        remedy = "Set a provider's key, such as OPENAI_API_KEY, or PINHOLE_SANDBOX=true."
        yield problem("accounts", "no model can be called", remedy)


async def answers(found: Installation) -> AsyncIterator[Finding]:
    """Whether each account's address answers, and takes its key where a request that costs nothing shows that."""
    transport = HTTPTransport()
    try:
        for deployment, models in found.registry.deployments:
            if models:
                yield await _asked(deployment, transport)
    finally:
        await transport.close()


async def _asked(deployment: Deployment, transport: HTTPTransport) -> Finding:
    check, probe = f"account {deployment.label}", deployment.provider.access.probe
    try:
        request = HTTPRequest(method="GET", url=probe or "/")
        response = await transport.send(wire(deployment, request), PATIENCE_SECONDS)
    except UpstreamFailure as error:
        remedy = "See the address in its *_BASE_URL or base_url, the network, and HTTPS_PROXY."
        return problem(check, f"{deployment.address} does not answer ({type(error).__name__})", remedy)
    said = f"{deployment.address} answers {response.status}"
    if probe and response.status in REFUSED:
        return problem(check, f"{said}: the key is refused", "See its key, and whether it belongs to this address.")
    if probe and response.status == BAD_REQUEST:  # what Google says of a key that is none (2026-11-22)
        return warning(check, said, "See its key.")
    if response.status >= SERVER_ERRORS_FROM:
        return warning(check, said, "See the provider's status page.")
    known = probe and response.status in SUCCESS
    return fine(check, f"{said}{', the key is taken' if known else '; whether its key is good shows the first call'}")

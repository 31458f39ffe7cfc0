"""A strict stand-in of OpenAI's image server."""

from tests.upstreams.openai.refusal import error_event
from tests.upstreams.openai.rules import MODELS, SHUTDOWN, Rules
from tests.upstreams.openai.standin import OpenAIStandIn

__all__ = ["MODELS", "SHUTDOWN", "OpenAIStandIn", "Rules", "error_event"]

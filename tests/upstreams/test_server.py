"""The harness itself: exact bytes in, every fault out."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import override

import httpx
import pytest

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.multipart import MultipartError, parse
from tests.upstreams.server import StandIn


class Echo(StandIn):
    """Answers the body it was sent."""

    @override
    def handle(self, exchange: Exchange) -> Reply:
        return Reply.file("text/plain", exchange.body)

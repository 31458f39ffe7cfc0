"""Providers of the soak: strict stand-ins whose pictures are all different, and the fates that exchanges meet."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import struct
import threading
import zlib

from tests.faults.fault import CLEAN, End, Fault, Stage, garbled, said
from tests.upstreams.http import Exchange
from tests.upstreams.openai import OpenAIStandIn
from tests.upstreams.openai.wish import Wish
from tests.upstreams.replicate import Prediction, ReplicateServer

NAME = re.compile(rb"soak ([\w-]+)")
FREE = (said(429), said(429, retry_after="1"), said(503), said(503, retry_after="1"))
SUBMITS = (
    *FREE,
    said(500),
    said(502),
    Fault(cut=0, end=End.RST),
    Fault(cut=0, end=End.FIN),
    Fault(cut=0, end=End.HALF),
    Fault(cut=20, end=End.RST),
    Fault(cut=0.5, end=End.RST),
    Fault(cut=0.8, end=End.FIN),
    Fault(altered=garbled),
    Fault(answer=b"nothing of HTTP\r\n\r\n", end=End.FIN),
    Fault(delay_s=1.5),
    Fault(piece=4096, pause_s=0.005),
)
LOOKS = (*FREE, said(500), Fault(cut=0, end=End.RST), Fault(cut=0.5, end=End.FIN), Fault(altered=garbled))
FETCHES = (said(503), Fault(cut=0, end=End.RST), Fault(cut=0.5, end=End.FIN))
FETCHES_SPOILT = 2  # of each picture: the third look for it is the last


def named(exchange: Exchange) -> str:
    """The name of the wish that a submit is for."""
    found = NAME.search(exchange.body)
    assert found, "a submit without a name"
    return found[1].decode()


class Made:
    """Digests of the pictures that were made, by the name of the wish, and of files where their wishes are."""

    def __init__(self) -> None:
        self.digests: dict[str, set[str]] = {}
        self.files: dict[str, str] = {}
        self._serial = itertools.count()

    def unique(self, prompt: str, png: bytes) -> bytes:
        """The same picture in bytes that no other has."""
        text = b"tEXtserial\0" + str(next(self._serial)).encode()
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        made = png[:33] + chunk + png[33:]  # after the signature and IHDR
        self.digests.setdefault(prompt.removeprefix("soak "), set()).add(hashlib.sha256(made).hexdigest())
        return made


class UniqueOpenAI(OpenAIStandIn):
    """Answers at once, also as a stream."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self._made = made

    def _drawn(self, wish: Wish, index: int) -> bytes:
        return self._made.unique(wish.fields["prompt"], super()._drawn(wish, index))


class UniqueReplicate(ReplicateServer):
    """Takes submits, is looked at, and has links."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self._made = made
        self._prompt = ""

    def _stored(self, prediction: Prediction, index: int) -> str:
        self._prompt = prediction.job.fields["prompt"]
        return super()._stored(prediction, index)

    def publish(self, path: str, content_type: str, data: bytes) -> str:
        self._made.files[path] = self._prompt.removeprefix("soak ")
        return super().publish(path, content_type, self._made.unique(self._prompt, data))


class Chance:
    """Which fate each exchange meets, drawn from one seed."""

    def __init__(self, seed: str, share: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._share = share
        self._spoilt: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, stage: Stage, exchange: Exchange) -> Fault:
        with self._lock:
            met = self._random.random() < self._share
            if stage is Stage.SUBMIT:
                slow = Fault(delay_s=self._random.uniform(0, 0.3))
                return self._random.choice(SUBMITS) if met else slow
            if stage is Stage.LOOK and met:
                return self._random.choice(LOOKS)
            if stage is Stage.FETCH and met:
                times = self._spoilt[exchange.path] = self._spoilt.get(exchange.path, 0) + 1
                return self._random.choice(FETCHES) if times <= FETCHES_SPOILT else CLEAN
            return CLEAN

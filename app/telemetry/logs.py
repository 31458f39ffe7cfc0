"""Structured logs: one line of JSON a record, with the request id, and nothing that a caller or an upstream wrote."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar
from functools import lru_cache
from traceback import extract_tb
from typing import Any, Final, TextIO

from pydantic_core import to_json

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
TRACE_ID: Final[ContextVar[str]] = ContextVar("trace_id", default="")
OURS: Final = "pinhole"
FRAMES: Final = 12
LONGEST: Final = 300
log: Final = logging.getLogger(OURS)


class Record(logging.LogRecord):
    """What lines are made of: the library's own takes paths apart, of which no line tells."""

    def __init__(self, name: str, level: int, *rest: Any, **_: Any) -> None:
        self.name, self.levelno, self.levelname = name, level, logging.getLevelName(level)
        self.pathname, self.lineno, self.msg, args, self.exc_info, *_rest = rest
        self.args = args[0] if args and len(args) == 1 and isinstance(args[0], dict) and args[0] else args
        self.exc_text = self.stack_info = None
        self.created = time.time()


def tell(message: str, fields: dict[str, Any]) -> None:
    """What the logger's `info` does, without the look for whoever called it."""
    if log.isEnabledFor(logging.INFO):
        record = logging.getLogRecordFactory()(OURS, logging.INFO, "", 0, message, (), None)
        record.__dict__["fields"] = fields
        log.handle(record)


class JSONFormatter(logging.Formatter):
    """Only named fields, never arguments or locals; of an exception its kind and its frames, never its text.

    Other libraries' messages end at their first line: asyncio's go on with the repr of what was raised.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": second(int(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() if record.name == OURS else foreign(record),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        if trace_id := TRACE_ID.get():
            line["trace_id"] = trace_id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["trace"] = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(record.exc_info[2])][-FRAMES:]
            line["kind"] = record.exc_info[0].__name__
        return written(line)


class Lines(logging.StreamHandler[TextIO]):
    """Standard error writes a line out when it ends."""

    def flush(self) -> None:
        return None


def written(line: dict[str, Any]) -> str:
    """A line as JSON."""
    try:
        return to_json(line).decode()
    except ValueError:  # half a surrogate pair has no UTF-8, but it has an escape
        return json.dumps(line, separators=(",", ":"))


@lru_cache(maxsize=4)
def second(moment: int) -> str:
    """A Unix second as text, in the machine's zone; the lines of one second share it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(moment))


def foreign(record: logging.LogRecord) -> str:
    """Another library's message: its template where it has arguments that may hold anything, else its first line."""
    text = record.msg if record.args and record.levelno >= logging.WARNING else record.getMessage()
    return str(text).partition("\n")[0][:LONGEST]


def configure_logging() -> None:
    """All loggers to standard error, as JSON. No line tells threads, processes or callers, so no record looks."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - as Python's "Logging HOWTO: Optimization" says
    logging.setLogRecordFactory(Record)
    handler = Lines(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn.access", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)

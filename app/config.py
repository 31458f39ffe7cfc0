"""The config file: YAML, strict, with `${NAME}` and `os.environ/NAME` expanded, errors with their line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from app.settings import SettingsError, masked
from providers.core.prices import usd

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A brace means something to YAML inside of `{...}`: names wait in private-use letters until the text is parsed.
_MARKED = re.compile("\ue000(\\w+)\ue001")
_PREFIX = "os.environ/"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # thousands of keys are read in C, where there is libyaml
_MERGE = "tag:yaml.org,2002:merge"
STORAGES = "file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://bucket/prefix"
_STORAGE = re.compile("file:///|(?:s3|gs|az)://.")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Unknown keys are errors; values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Strict):
    """What one scope may do; a limit left out is none. Money is dollars a UTC day."""

    requests_per_minute: int | None = Field(None, gt=0)
    images_per_minute: int | None = Field(None, gt=0)
    megapixels_per_minute: float | None = Field(None, gt=0, allow_inf_nan=False)
    concurrent_images: int | None = Field(None, gt=0)
    usd_per_day: float | None = Field(None, ge=0, allow_inf_nan=False)

    @cached_property
    def in_force(self) -> tuple[tuple[str, float], ...]:
        """What has a limit, and the limit; dollars a day as `usd`, in micro-dollars."""
        found = (
            ("requests", self.requests_per_minute),
            ("images", self.images_per_minute),
            ("megapixels", self.megapixels_per_minute),
            ("concurrent_images", self.concurrent_images),
            ("usd", None if self.usd_per_day is None else usd(self.usd_per_day)),
        )
        return tuple((name, limit) for name, limit in found if limit is not None)


class CredentialEntry(Strict):
    """One of several accounts behind a provider entry."""

    api_key: SecretStr
    base_url: str | None = None
    weight: int = Field(1, gt=0)


class ProviderEntry(Strict):
    """An account, a region or an engine of one provider type."""

    type: Literal["openai", "gemini", "qwen", "minimax", "cogview", "stability", "replicate"]
    base_url: str | None = None
    api_key: SecretStr | None = None
    credentials: tuple[CredentialEntry, ...] = ()
    weight: int = Field(1, gt=0)
    limits: Limits = Limits()
    models: tuple[str, ...] = ()


class ModelEntry(Strict):
    """An overlay of a row, or a new row `like` another."""

    provider: str | None = None
    like: str | None = None
    upstream_id: str | None = None
    n: tuple[int, int] | None = None
    prompt_max: int | None = Field(None, gt=0)
    sizes: tuple[str, ...] | None = None
    prices: dict[str, Price] | None = None
    limits: Limits = Limits()
    deadline_seconds: float | None = Field(None, gt=0)


class KeyFields(Strict):
    """What a caller's key allows."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
    models: tuple[str, ...] = ("*",)
    policy: Literal["strict", "lenient"] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    limits: Limits = Limits()
    user_limits: Limits = Limits()
    expires: datetime | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    emulation: Literal["allow", "forbid"] = "allow"

    @field_validator("expires")
    @classmethod
    def _of_utc(cls, value: datetime | None) -> datetime | None:
        """A time without a zone is UTC wherever the gateway runs."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class KeyEntry(KeyFields):
    """A caller of the config file."""

    key: SecretStr = Field(min_length=1)


class Storage(Strict):
    """Where images are kept for their links, and for how long."""

    url: str | None = None
    ttl_seconds: int = Field(3600, gt=0)

    @field_validator("url")
    @classmethod
    def _known(cls, url: str | None) -> str | None:
        if url is None or _STORAGE.match(url):
            return url
        raise ValueError(masked(f"'{url}' is no storage; allowed: {STORAGES}"))


class Redis(Strict):
    """What happens when Redis is away."""

    on_loss: Literal["open", "closed"] = "open"
    share: float = Field(0.5, gt=0, le=1)


class Capacity(Strict):
    """How much may be in flight at once."""

    requests: int = Field(2048, gt=0)
    bytes: str = Field("256MiB", pattern=r"^[1-9][0-9]{0,15} ?(B|KiB|MiB|GiB)?$")
    queue_seconds: float = Field(30, ge=0)

    @property
    def total(self) -> int:
        """`bytes` as a number."""
        number, unit = re.fullmatch(r"([0-9]+) ?([A-Za-z]*)", self.bytes).groups()  # type: ignore[union-attr]  # the field's pattern
        return int(number) * _UNITS[unit or "B"]


class Server(Strict):
    """How long a drain may take."""

    drain_seconds: float = Field(310, gt=0)


class LedgerEntry(Strict):
    """Whether end users are stored as a hash."""

    hash_users: bool = True


class Config(Strict):
    """The whole file; every part may be absent."""

    providers: dict[str, ProviderEntry] = Field(default_factory=dict)
    models: dict[str, ModelEntry] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)
    fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    limits: Limits = Limits()
    keys: tuple[KeyEntry, ...] = ()
    storage: Storage = Storage()
    redis: Redis = Redis()
    capacity: Capacity = Capacity()
    server: Server = Server()
    ledger: LedgerEntry = LedgerEntry()
    response_format: Literal["url", "b64_json"] | None = None


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file. Raises SettingsError with file, line, key and what is allowed."""
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"PINHOLE_CONFIG: {path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise SettingsError(f"PINHOLE_CONFIG: {path} is not UTF-8 text.") from None
    return parse(text, environ, str(path))


def parse(text: str, environ: Mapping[str, str], name: str = "config") -> Config:
    """Parse YAML text. Raises SettingsError."""
    text = _NAME.sub("\ue000\\1\ue001", text)
    try:
        node, document = _read(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{name}, line {line}: {error.problem}.") from None
    except yaml.YAMLError:
        raise SettingsError(f"{name} is not YAML: it holds a control character.") from None
    try:
        return Config.model_validate(_expand(document, environ, name))
    except ValidationError as error:
        problems = [
            f"{name}, line {_line(node, e['loc'])}: {'.'.join(map(str, e['loc'])) or 'file'}: {_said(e)}."
            for e in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("\n".join(problems)) from None


def _said(problem: Any) -> str:
    return (
        "unknown key" if problem["type"] == "extra_forbidden" else str(problem["msg"]).removeprefix("Value error, ")
    )


def _read(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes, which know their lines, and what they say. Raises yaml.YAMLError."""
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        _refuse_doubles(node)  # before merges are worked in, which say a key again
        return node, ({} if node is None else loader.construct_document(node) or {})
    finally:
        loader.dispose()


def _refuse_doubles(node: yaml.Node | None) -> None:
    """YAML keeps the last of two equal keys in silence. Raises yaml.MarkedYAMLError."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, yaml.SequenceNode):
            waiting += found.value
        elif isinstance(found, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in found.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen and key.tag != _MERGE:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
                seen.add(str(key.value))
                waiting.append(value)


def _expand(value: Any, environ: Mapping[str, str], name: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environ, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ, name) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(_PREFIX):
        return _variable(value.removeprefix(_PREFIX), environ, name)
    return _MARKED.sub(lambda match: _variable(match[1], environ, name), value)


def _variable(variable: str, environ: Mapping[str, str], name: str) -> str:
    if variable not in environ:
        raise SettingsError(f"{name}: the variable {variable} is named but not set.")
    return environ[variable]


def _line(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the path that exists."""
    line = 1
    for step in path:
        if node is None:
            break
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line

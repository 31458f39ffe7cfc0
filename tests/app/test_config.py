"""The config file: strict, with its mistakes named by line, and secrets that come from the environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.config import (
    Capacity,
    Config,
    CredentialEntry,
    KeyEntry,
    Limits,
    ModelEntry,
    ProviderEntry,
    Redis,
    Server,
    Storage,
    load,
    parse,
)
from app.registry import Registry
from app.settings import SettingsError
from app.settings import load as load_settings
from providers import discover

WHOLE = """
providers:
  my-engine: {type: openai, base_url: http://gpu-1:8000/v1, api_key: ${ENGINE_KEY}, models: [flux-dev]}
models:
  flux-dev: {provider: my-engine, like: gpt-image-1, n: [1, 4], prices: {image: 0.002}}
aliases: {dall-e-3: gemini-3-pro-image, studio: gpt-image-2}
fallbacks: {gpt-image-2: [gemini-3-pro-image, qwen-image]}
limits: {requests_per_minute: 600, images_per_minute: 600, megapixels_per_minute: 1200, concurrent_images: 32,
         usd_per_day: 100}
keys:
  - {name: team-a, key: os.environ/TEAM_KEY, models: ["gpt-image-*"], policy: lenient, response_format: url,
     limits: {requests_per_minute: 60, images_per_minute: 120, concurrent_images: 8, usd_per_day: 5.0}}
storage: {url: "file:///var/lib/pinhole/images", ttl_seconds: 3600}
redis: {on_loss: open, share: 0.5}
capacity: {requests: 2048, bytes: 256MiB, queue_seconds: 30}
server: {drain_seconds: 310}
ledger: {hash_users: true}
"""
ENVIRON = {"ENGINE_KEY": "sk-engine-secret", "TEAM_KEY": "sk-team-secret"}


def test_the_documented_file_is_read_whole() -> None:
    """Every part of the example that the documentation shows is understood."""
    found = parse(WHOLE, ENVIRON)

    assert found.models["flux-dev"].n == (1, 4)
    assert found.limits.usd_per_day == 100
    assert found.fallbacks["gpt-image-2"] == ("gemini-3-pro-image", "qwen-image")
    assert found.keys[0].limits.concurrent_images == 8


def test_the_page_about_the_file_shows_all_of_it() -> None:
    """Its example is a file that starts, and names every key there is."""
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    environ = dict.fromkeys(("ENGINE_KEY", "GEMINI_KEY_A", "GEMINI_KEY_B", "TEAM_A_KEY"), "sk")
    found = parse(text, environ)
    Registry(discover(), load_settings(environ), found)

    known = (Config, ProviderEntry, CredentialEntry, ModelEntry, KeyEntry, Limits, Storage, Redis, Capacity, Server)
    names = {name for part in known for name in part.model_fields} - {"base_url"}
    assert names <= set(re.findall(r"[a-z_]+(?=: )", text.replace("\n", " ")))


def test_a_budget_is_right_to_the_cent() -> None:
    """Dollars become whole micro-dollars: 2.01 is not a little less, which would refuse its last cent."""
    for cents in range(1, 5000):
        assert Limits(usd_per_day=cents / 100).in_force == (("usd", cents * 10_000),)


@pytest.mark.parametrize("line", ["usd_per_day: .inf", "megapixels_per_minute: .inf", "usd_per_day: .nan"])
def test_a_limit_is_a_number(line: str) -> None:
    """No limit is said by leaving it out."""
    with pytest.raises(SettingsError, match=line.partition(":")[0]):
        parse(f"limits: {{{line}}}", {})


def test_names_of_variables_become_their_values() -> None:
    """Both spellings are expanded, inside of longer text too."""
    found = parse(WHOLE, ENVIRON)
    longer = parse(
        'providers: {a: {type: openai, base_url: "http://${HOST}:${PORT}/v1"}}', {"HOST": "gpu", "PORT": "1"}
    )
    engine = found.providers["my-engine"].api_key

    assert engine
    assert engine.get_secret_value() == "sk-engine-secret"
    assert found.keys[0].key.get_secret_value() == "sk-team-secret"
    assert longer.providers["a"].base_url == "http://gpu:1/v1"


def test_a_secret_is_in_no_repr() -> None:
    """What is printed of a config never shows a key."""
    found = parse(WHOLE, ENVIRON)

    for shown in (repr(found), str(found), found.model_dump_json()):
        assert "secret" not in shown


@pytest.mark.parametrize("text", ["a: ${MISSING}", "a: os.environ/MISSING"])
def test_a_missing_variable_is_named(text: str) -> None:
    """A variable that is not set is an error, not an empty text."""
    with pytest.raises(SettingsError, match="MISSING is named but not set"):
        parse(f"aliases: {{{text}}}", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aliases: {a: gpt-image-2}\nwibble: 1\n", r"line 2: wibble: unknown key"),
        ("limits:\n  requests_per_minute: 5\n  images_pro_minute: 5\n", r"line 3: limits\.images_pro_minute"),
        ("limits: {requests_per_minute: 0}", r"line 1: limits\.requests_per_minute: .*greater than 0"),
        ("\n\nlimits: {usd_per_day: -1}", r"line 3: limits\.usd_per_day: .*greater than or equal to 0"),
        ("keys:\n- {name: a, key: b}\n- {name: c}\n", r"line 3: keys\.1\.key: Field required"),
        ("keys:\n- {name: a, key: b, policy: free}\n", r"line 2: keys\.0\.policy: .*'strict' or 'lenient'"),
        ("providers:\n  x:\n    type: word\n", r"line 3: providers\.x\.type: .*'openai'"),
        ("server: {drain_seconds: soon}", r"line 1: server\.drain_seconds: .*number"),
        ("limits: {usd_per_day: 1}\naliases: {}\nlimits: {}\n", r"line 3: limits is there twice"),
        ("keys:\n- {name: a, key: b, name: c}\n", r"line 2: name is there twice"),
        ("keys:\n- {name: a, key: ''}\n", r"line 2: keys\.0\.key: .*at least 1"),
        ("storage:\n  url: ftp://images\n", r"line 2: storage\.url: "),
        ("redis: {on_loss: ajar}", r"line 1: redis\.on_loss: .*'open' or 'closed'"),
        ("- a\n- b\n", r"line 1: file: "),
        ("just text", r"line 1: file: "),
        ("a: [1\nb: 2", r"line 2"),
        ("a: b: c", r"line 1"),
        ("\tlimits: 1", r"line 1"),
        ("a: !!python/object:os.system {}", r"line 1"),
    ],
)
def test_a_mistake_is_named_by_its_line(text: str, said: str) -> None:
    """The error says where it is and what is allowed there."""
    with pytest.raises(SettingsError, match=said):
        parse(text, {})


def test_merged_keys_are_no_doubles() -> None:
    """An anchor's keys may be said again: that is what YAML's merge is for."""
    text = "limits: &base {usd_per_day: 1}\nkeys: [{name: a, key: b, limits: {<<: *base, usd_per_day: 2}}]\n"

    assert parse(text, {}).keys[0].limits.usd_per_day == 2


def test_every_mistake_is_told_at_once() -> None:
    """Two mistakes are two lines."""
    with pytest.raises(SettingsError) as caught:
        parse("wibble: 1\nwobble: 2\n", {})

    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["config, line 1", "config, line 2"]


def test_a_mistake_never_shows_a_secret() -> None:
    """The value of a field that is wrong is not repeated."""
    with pytest.raises(SettingsError) as caught:
        parse("keys: [{name: a, key: {sk: very-secret}}]", {})

    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_is_the_default(text: str) -> None:
    """Nothing said is nothing changed."""
    assert parse(text, {}) == Config()


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    """Without a path there is the default; a path that cannot be read is named, and so is the file in a mistake."""
    path = tmp_path / "pinhole.yaml"
    path.write_text("limits: {usd_per_day: 3}")
    assert load(None, {}) == Config()
    assert load(path, {}).limits.usd_per_day == 3

    with pytest.raises(SettingsError, match=r"PINHOLE_CONFIG: .*absent\.yaml cannot be read"):
        load(tmp_path / "absent.yaml", {})
    with pytest.raises(SettingsError, match="PINHOLE_CONFIG"):
        load(tmp_path, {})
    path.write_text("wibble: 1")
    with pytest.raises(SettingsError, match=r"pinhole\.yaml, line 1"):
        load(path, {})
    path.write_bytes(b"a: \x07")
    with pytest.raises(SettingsError, match="control character"):
        load(path, {})
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(SettingsError, match="PINHOLE_CONFIG"):
        load(path, {})


def test_a_value_from_the_environment_is_never_read_as_yaml() -> None:
    """Braces, colons and comment signs of a key stay what they are; names in comments are not looked up."""
    secret = "}: [#${OTHER} os.environ/X"
    found = parse("# ${ABSENT}\naliases: {a: ${NAME}, b: 'x${NAME}y'}", {"NAME": secret})

    assert dict(found.aliases) == {"a": secret, "b": f"x{secret}y"}

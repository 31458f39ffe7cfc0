"""One contract for every store: the disk, and buckets over HTTP: S3 (moto), Azure (Azurite), Google (a stand-in)."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import obstore
import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from app.config import parse
from app.errors import RangeNotSatisfiable
from app.main import image_store
from app.routes.files import byte_range
from app.settings import Settings, SettingsError
from app.store import DiskStore, ImageStore, Links, StoreError
from app.store.bucket import BucketStore
from app.store.protocol import DOCUMENT_SECONDS
from providers.core.types import ImageFormat
from providers.kit.clock import Clock, SystemClock
from tests.app import azure
from tests.app.gcs import GoogleStorage
from tests.app.s3 import BUCKET, s3, served, variables

TTL = 3600.0
PICTURE = bytes(range(256)) * 4096  # 1 MiB: more than one piece of a stream
SECRETS = {"PINHOLE_SECRET": "shared-by-all"}


class Later(SystemClock):
    """The system's clock, ahead by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._ahead = seconds

    def time(self) -> float:
        return super().time() + self._ahead


@dataclass(frozen=True, slots=True)
class Storages:
    """One storage, opened as often as a test likes, and the same as a URL with its environment."""

    url: str
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    bucket: S3Store | AzureStore | GCSStore | None = None

    def open(self, clock: Clock | None = None) -> ImageStore:
        """Another gateway's view of it."""
        clock = clock or SystemClock()
        return BucketStore(self.bucket, clock, TTL) if self.bucket else DiskStore(self.folder, clock, TTL)


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    """One server for the module."""
    with s3() as port:
        yield port


@pytest.fixture(scope="module")
def azure_port() -> Iterator[int]:
    """One emulator for the module."""
    if not azure.available():
        pytest.skip(azure.ENVIRONMENTS)
    with azure.azurite() as port:
        yield port


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleStorage]:
    """One stand-in for the module."""
    with GoogleStorage() as server:
        yield server


@pytest.fixture(params=["disk", "bucket", "azure", "google"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storages:
    """Each storage, empty."""
    folder = tmp_path / "images"
    if request.param == "disk":
        return Storages(f"file://{folder}", folder)
    prefix = f"deep/{tmp_path.name}"
    if request.param == "google":
        server: GoogleStorage = request.getfixturevalue("google")
        return Storages(f"gs://{BUCKET}/{prefix}", folder, server.variables(), _google(server, prefix))
    if request.param == "azure":
        port: int = request.getfixturevalue("azure_port")
        container = _container(port, prefix)
        return Storages(f"az://{BUCKET}/{prefix}", folder, azure.variables(port), container)
    port = request.getfixturevalue("s3_port")
    return Storages(f"s3://{BUCKET}/{prefix}", folder, variables(port), _bucket(port, prefix))


def _bucket(port: int, prefix: str | None = None) -> S3Store:
    return S3Store(
        BUCKET,
        prefix=prefix,
        endpoint=f"http://127.0.0.1:{port}",
        region="us-east-1",
        access_key_id="made-up",
        secret_access_key="made-up",
        client_options={"allow_http": True, "proxy_excludes": "127.0.0.1"},
        retry_config={"max_retries": 0},
    )


def _google(server: GoogleStorage, prefix: str, account: str | None = None) -> GCSStore:
    return GCSStore(
        BUCKET,
        prefix=prefix,
        service_account_key=account or server.account,
        client_options={"allow_http": True, "proxy_excludes": "127.0.0.1"},
        retry_config={"max_retries": 0},
    )


def _container(port: int, prefix: str) -> AzureStore:
    return AzureStore(
        BUCKET,
        prefix=prefix,
        account_name=azure.ACCOUNT,
        account_key=azure.KEY,
        endpoint=f"http://127.0.0.1:{port}/{azure.ACCOUNT}",
        client_options={"allow_http": True, "proxy_excludes": "127.0.0.1"},
        retry_config={"max_retries": 0},
    )


async def whole(store: ImageStore, name: str, start: int = 0, stop: int = len(PICTURE)) -> bytes | None:
    """The bytes a store gives for a name."""
    found = await store.get(name)
    return None if found is None else b"".join([piece async for piece in await found.read(start, stop)])


@pytest.mark.parametrize("image_format", list(ImageFormat))
async def test_what_is_kept_is_given_back(storage: Storages, image_format: ImageFormat) -> None:
    """The bytes, the format and the size come back under a random name, to every gateway on the storage."""
    name = await storage.open().put(memoryview(PICTURE), image_format)
    found = await storage.open().get(name)

    assert found is not None
    assert (found.format, found.size) == (image_format, len(PICTURE))
    assert await whole(storage.open(), name) == PICTURE
    assert len(name.partition(".")[0]) == 32


async def test_a_slice_is_a_slice(storage: Storages) -> None:
    """Only the bytes that were asked for are read."""
    store = storage.open()
    name = await store.put(PICTURE, ImageFormat.PNG)

    assert await whole(store, name, 1000, 300_001) == PICTURE[1000:300_001]


async def test_a_document_is_kept_and_no_link_leads_to_it(storage: Storages) -> None:
    """Its pieces come back as one to every gateway; no image has its name, and what is dropped or unknown is None."""
    name = await storage.open().keep([b"head\n", memoryview(PICTURE), b"tail"])
    given = await storage.open().kept(name)
    as_image = await storage.open().get(name)
    await storage.open().drop(name)
    await storage.open().drop(name)

    assert given == b"head\n" + PICTURE + b"tail"
    assert as_image is None
    assert await storage.open().kept(name) is None
    assert [await storage.open().kept(wrong) for wrong in ("../secret", "0" * 32 + ".png", "")] == [None] * 3


async def test_documents_live_an_hour_whatever_images_do(storage: Storages) -> None:
    """A sweep takes a document after an hour and not before."""
    name = await storage.open().keep([b"answer"])
    early = await storage.open(Later(DOCUMENT_SECONDS - 10)).sweep()
    there = await storage.open().kept(name)
    late = await storage.open(Later(DOCUMENT_SECONDS + 2)).sweep()

    assert (early, there, late) == (0, b"answer", 1)
    assert await storage.open().kept(name) is None


async def test_images_expire(storage: Storages) -> None:
    """A kept image is there until its time is over and not after, swept or not."""
    name = await storage.open().put(PICTURE, ImageFormat.WEBP)

    assert await storage.open(Later(TTL - 10)).get(name) is not None
    assert await storage.open(Later(TTL + 1)).get(name) is None


async def test_a_sweep_takes_what_has_expired(storage: Storages) -> None:
    """Sweeping removes every expired image, no fresh one, and what is gone is gone for every gateway."""
    names = [await storage.open().put(b"x", ImageFormat.PNG) for _ in range(3)]

    assert await storage.open().sweep() == 0
    assert await storage.open(Later(TTL + 1)).sweep() == 3
    assert [await storage.open().get(name) for name in names] == [None] * 3


async def test_an_image_that_goes_while_it_is_asked_for_is_missing(storage: Storages) -> None:
    """What a sweep removed between look-up and reading is FileNotFoundError, which is 404, not 500."""
    found = await storage.open().get(await storage.open().put(PICTURE, ImageFormat.PNG))
    await storage.open(Later(TTL + 1)).sweep()

    assert found is not None
    with pytest.raises(FileNotFoundError):
        await found.read(0, found.size)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../secret", "ab", "ab/", "a" * 32, "A" * 32 + ".png", "%2e%2e/x.png", "a" * 32 + ".svg"]
)
async def test_no_other_name_is_looked_up(storage: Storages, name: str) -> None:
    """A name that no store gives is unknown: no path, no folder, no listing, no other suffix."""
    storage.folder.mkdir(exist_ok=True)
    (storage.folder.parent / "secret").write_bytes(b"not for you")

    assert await storage.open().get(name) is None


async def test_a_folder_is_shared_with_others(tmp_path: Path) -> None:
    """A sweep takes what a gateway left half written, and leaves alone what none has named."""
    theirs = [tmp_path / "ab" / "report.png", tmp_path / "cd" / f"{'ab' * 16}.png"]
    torn = tmp_path / "ab" / f"{'ab' * 16}.part"
    for path in (*theirs, torn):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")

    assert await DiskStore(tmp_path, Later(TTL * 9), TTL).sweep() == 1
    assert [path.exists() for path in (*theirs, torn)] == [True, True, False]


async def test_a_bucket_is_shared_with_others(s3_port: int, tmp_path: Path) -> None:
    """A sweep leaves alone what no gateway has named, and what lies beside the prefix."""
    prefix = f"mine/{tmp_path.name}"
    inside, everything = _bucket(s3_port, prefix), _bucket(s3_port)
    await obstore.put_async(inside, "report.png", b"theirs")
    await obstore.put_async(everything, f"{prefix}x/ab/{'ab' * 16}.png", b"a neighbour's")

    assert await BucketStore(inside, Later(TTL * 9), TTL).sweep() == 0


async def test_a_bounded_sweep_goes_on_where_the_last_one_stopped(s3_port: int, tmp_path: Path) -> None:
    """However many objects of others lie in front, every expired image is reached in time."""
    bucket = _bucket(s3_port, f"crowded/{tmp_path.name}")
    for i in range(5):
        await obstore.put_async(bucket, f"!/{i}.txt", b"theirs")
    name = await BucketStore(bucket, SystemClock(), TTL).put(b"x", ImageFormat.PNG)
    sweeper = BucketStore(bucket, Later(TTL + 1), TTL, sweep_objects=2)

    assert [await sweeper.sweep() for _ in range(3)] == [0, 0, 1]
    assert await BucketStore(bucket, SystemClock(), TTL).get(name) is None


async def test_a_bucket_that_is_away_is_an_error_with_a_name() -> None:
    """Nobody listens: keeping and looking up raise StoreError, which is an OSError, and a sweep goes on living."""
    store = BucketStore(_bucket(9), SystemClock(), TTL)

    with pytest.raises(OSError, match="the bucket"):
        await store.put(b"x", ImageFormat.PNG)
    with pytest.raises(StoreError):
        await store.get("ab" * 16 + ".png")
    assert await store.sweep() == 0


async def test_what_google_is_asked_for(google: GoogleStorage, tmp_path: Path) -> None:
    """One request for each thing to do: the object whole and typed, its head, its slice, its end, its listing."""
    prefix, begun = f"wire/{tmp_path.name}", len(google.exchanges)
    store = BucketStore(_google(google, prefix), SystemClock(), TTL)
    name = await store.put(memoryview(PICTURE), ImageFormat.JPEG)
    await whole(store, name, 1000, 2000)
    await BucketStore(_google(google, prefix), Later(TTL + 1), TTL).sweep()
    put, head, get, listed, delete = google.exchanges[begun:]
    target = f"/{BUCKET}/{quote(f'{prefix}/{name[:2]}/{name}', safe='_~-').replace('.', '%2E')}"

    assert (put.method, put.body, put.header("content-type")) == ("PUT", PICTURE, "image/jpeg")
    assert put.header("content-length") == str(len(PICTURE))
    assert (head.method, get.method, get.header("range")) == ("HEAD", "GET", "bytes=1000-1999")
    assert (listed.method, listed.query) == ("GET", {"list-type": ["2"], "prefix": [f"{prefix}/"]})
    assert delete.method == "DELETE"
    assert {unquote(each.path) for each in (put, head, get, delete)} == {unquote(target)}
    assert google.things.keys().isdisjoint({f"{prefix}/{name[:2]}/{name}"})


async def test_google_refuses_a_key_that_is_not_its_own(google: GoogleStorage) -> None:
    """An account whose key is not known there is an error with a name, at keeping and at looking up."""
    with GoogleStorage() as other:
        forged = {**json.loads(google.account), "private_key": json.loads(other.account)["private_key"]}
    store = BucketStore(_google(google, "forged", json.dumps(forged)), SystemClock(), TTL)

    with pytest.raises(StoreError, match="the bucket"):
        await store.put(b"x", ImageFormat.PNG)
    with pytest.raises(StoreError):
        await store.get("ab" * 16 + ".png")
    assert not any(key.startswith("forged/") for key in google.things)


async def test_two_gateways_sweep_one_google_bucket(google: GoogleStorage, tmp_path: Path) -> None:
    """What another gateway removed first is 404 there, and no sweep is ended by it: in the end all is gone."""
    prefix = f"twice/{tmp_path.name}"
    names = [
        await BucketStore(_google(google, prefix), SystemClock(), TTL).put(b"x", ImageFormat.PNG) for _ in range(9)
    ]
    sweepers = [BucketStore(_google(google, prefix), Later(TTL + 1), TTL) for _ in range(2)]
    for _ in names:
        await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))

    assert not any(name in key for key in google.things for name in names)


def test_every_gateway_serves_every_link(storage: Storages, tmp_path: Path) -> None:
    """Gateways that share secret and storage serve each other's links, restarted too; another secret does not."""
    environ = {**SECRETS, **storage.environ}
    with served(tmp_path / "one", storage.url, environ) as one:
        link = _generated(one)
        status, headers, picture = _get(one, link)
        assert (status, headers["content-type"], headers["x-content-type-options"]) == (200, "image/png", "nosniff")
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert int(headers["content-length"]) == len(picture)
    with (
        served(tmp_path / "one", storage.url, environ) as again,
        served(tmp_path / "two", storage.url, environ) as two,
    ):
        assert _get(again, link)[2] == _get(two, link)[2] == picture
        status, headers, part = _get(two, link, {"range": "bytes=8-15"})
        assert (status, headers["content-range"], part) == (206, f"bytes 8-15/{len(picture)}", picture[8:16])
        status, headers, part = _get(two, link, {"range": f"bytes={len(picture)}-"})
        assert (status, headers["content-range"]) == (416, f"bytes */{len(picture)}")
        assert json.loads(part)["error"]["code"] == "range_not_satisfiable"
        assert _get(two, link, {"range": "bytes=0-1", "if-range": '"other"'})[0] == 200
        assert [_get(two, path)[0] for path in _spoilt(link)] == [403] * 4 + [404] * 4
    with served(tmp_path / "three", storage.url, {**environ, "PINHOLE_SECRET": "another"}) as three:
        assert _get(three, link)[0] == 403


def _spoilt(link: str) -> list[str]:
    """Four links that were never signed, then a signed one of no image and three paths that are none."""
    path, _, query = link.partition("?")
    signed = Links("", [SECRETS["PINHOLE_SECRET"].encode()], SystemClock(), 600)
    return [
        path,
        f"{path}?{query}A",
        f"{path}?{query.replace('expires=', 'expires=1')}",
        f"/files/{'0' * 32}.png?{query}",
        signed.url(f"{'0' * 32}.png"),
        signed.url(".."),
        "/files/",
        f"/files/..%2F..%2Fpinhole.yaml?{query}",
    ]


def _generated(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = {"model": "gpt-image-2", "prompt": "A pier", "response_format": "url"}
    connection.request("POST", "/v1/images/generations", json.dumps(body), {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    link = urlsplit(answer["data"][0]["url"])
    return f"{link.path}?{link.query}"


def _get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=dict(headers or {}))
    answer = connection.getresponse()
    found = (answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    connection.close()
    return found


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", range(100)),
        ("bytes=0-0", range(1)),
        ("bytes=99-", range(99, 100)),
        ("Bytes=10-999", range(10, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=9-3", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_a_range_is_read_as_rfc_9110_says(header: str | None, expected: range | None) -> None:
    """One range of bytes is honoured within the file; anything else is passed over."""
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_is_told(header: str) -> None:
    """A range without a byte of the file cannot be satisfied."""
    with pytest.raises(RangeNotSatisfiable):
        byte_range(header, 100)


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "s3://", "gs:///only-a-path", "s3://bucket?x=1", "file://host/x", "images"]
)
def test_a_storage_that_is_none_is_named_at_start(url: str) -> None:
    """A storage.url that cannot be used is a SettingsError that says which are allowed."""
    with pytest.raises(SettingsError, match="allowed"):
        image_store(Settings(), parse(f"storage: {{url: '{url}'}}", {}), SystemClock())

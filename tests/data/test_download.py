"""Archives of public data sets: fetched in parts, compared, unpacked without leaving the folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.data import download
from bench.data.archive import unpack
from bench.data.release import Archive
from bench.errors import BenchError

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves files of memory; may cut the first answers, or know nothing of ranges."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/file.csv": CONTENT}
        self.cuts: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        self.answer(body=True)

    def answer(self, *, body):
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            end = start + self.server.cuts.pop(0) if self.server.cuts else len(content)
            self.wfile.write(content[start:end])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.001)
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def published(server, content=CONTENT, name="file.csv", kind="sha256"):
    digest = f"{kind}:{hashlib.new(kind, content).hexdigest()}"
    return Archive(digest, f"{server.url}/{name}")


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_cut_download_goes_on_where_it_was(server, tmp_path, kind):
    server.cuts = [300_000, 200_000]
    seen = []
    path = tmp_path / "file.csv"
    download.fetch(published(server, kind=kind), path, lambda *both: seen.append(both))
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [one.name for one in tmp_path.iterdir()] == ["file.csv"]


def test_a_part_of_an_earlier_command_is_used_and_a_server_without_ranges_starts_anew(
    server, tmp_path
):
    part = tmp_path / "file.csv.part"
    for ranges, whole in ((True, CONTENT), (False, CONTENT)):
        server.ranges = ranges
        part.write_bytes(CONTENT[:1000])
        download.fetch(published(server), tmp_path / "file.csv", lambda *_: None)
        assert (tmp_path / "file.csv").read_bytes() == whole
    part.write_bytes(CONTENT)
    server.ranges = True
    download.fetch(published(server), tmp_path / "file.csv", lambda *_: None)
    assert not part.exists()


def test_another_file_than_the_published_one_is_removed(server, tmp_path):
    with pytest.raises(BenchError, match="is not the published sha256"):
        download.fetch(published(server, b"other"), tmp_path / "file.csv", lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_refuses_or_never_answers_is_named(server, tmp_path):
    with pytest.raises(BenchError, match="404"):
        download.fetch(published(server, name="gone"), tmp_path / "gone", lambda *_: None)
    server.cuts = [0] * 20
    with pytest.raises(BenchError, match=f"no answer after {download.ATTEMPTS} attempts"):
        download.fetch(published(server), tmp_path / "file.csv", lambda *_: None)
    assert len(server.cuts) == 20 - download.ATTEMPTS


def test_a_disk_that_is_too_small_is_noticed_before_it_is_full(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BenchError, match="GB are free; name another"):
        download.fetch(published(server), tmp_path / "file.csv", lambda *_: None)


def zipped(names: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as pack:
        for name, content in names.items():
            pack.writestr(name, content)
    return data.getvalue()


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as pack:
        for info, content in members:
            info.size = len(content)
            pack.addfile(info, io.BytesIO(content))
    return data.getvalue()


def linked(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info, b""


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info, b""


@pytest.mark.parametrize(
    "content",
    [
        zipped({"a/": b"", "a/b.nii": b"1"}),
        tarred((tarfile.TarInfo("a/b.nii"), b"1")),
        tarred(folder("./"), (tarfile.TarInfo("./a/b.nii"), b"1")),
    ],
    ids=["zip", "tar", "tar of ."],
)
def test_a_sound_archive_is_unpacked(tmp_path, content):
    (tmp_path / "pack").write_bytes(content)
    assert [str(Path(name)) for name in unpack(tmp_path / "pack", tmp_path)] == ["a/b.nii"]
    assert (tmp_path / "a/b.nii").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({"../out": b"1"}), "leads out"),
        (zipped({"/etc/out": b"1"}), "leads out"),
        (zipped({"a\\..\\..\\out": b"1"}), "leads out"),
        (tarred((tarfile.TarInfo("../out"), b"1")), "leads out"),
        (tarred(linked("a", "/etc")), "link or a device"),
        (zipped({"a": b"1"})[:-30], "neither a zip nor a tar"),
        (b"7z", "neither a zip nor a tar"),
    ],
    ids=["up", "absolute", "backslashes", "tar", "link", "cut", "7z"],
)
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, content, message):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "pack").write_bytes(content)
    with pytest.raises(BenchError, match=message):
        unpack(tmp_path / "pack", folder)
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "out").exists()


PLUGIN = '''
from bench.api import Archive, Release, Scans


class Toy(Release):
    """A release that a server of the test holds."""

    called = "toy"
    summary = "two scans"
    licence = "CC BY 4.0"
    citation = "Nobody"
    urls = ("https://example.org",)
    layout = "scan-N.nii and labels-N.nii"
    folders = ("toy",)
    scans = (Scans("toy_{:02d}", "scan-{n}.nii", "labels-{n}.nii"),)
    values = {1: "liver"}
    complete = 2
    archives = {"toy.zip": Archive("DIGEST", "URL"), "more.7z": Archive("md5:0")}
'''


@pytest.fixture
def toy(server, tmp_path):
    content = zipped({"top/scan-1.nii": b"x", "top/labels-1.nii": b"y"})
    server.files["/toy.zip"] = content
    archive = published(server, content, "toy.zip")
    path = tmp_path / "toy.py"
    path.write_text(PLUGIN.replace("DIGEST", archive.digest).replace("URL", archive.url))
    return path


def test_a_user_downloads_and_verifies(bench, toy, tmp_path, server):
    more = ("--plugin", str(toy))
    refused = bench("data", "download", "toy", *more)
    assert refused.code == 2
    assert "--yes accepts the licence" in refused.err
    assert "CC BY 4.0" in refused.out
    done = bench("data", "download", "toy", "--yes", *more)
    assert done.code == 0
    assert (tmp_path / "data/toy/top/scan-1.nii").read_bytes() == b"x"
    assert "by hand" in done.out
    asked = len(server.asked)
    again = bench("data", "download", "toy", "--yes", *more)
    assert "was unpacked before" in again.out
    assert len(server.asked) == asked
    (tmp_path / "data/toy/top/labels-1.nii").unlink()
    bench("data", "download", "toy", "--yes", *more)
    assert (tmp_path / "data/toy/top/labels-1.nii").read_bytes() == b"y"
    assert len(server.asked) == asked
    right = bench("data", "verify", "toy", *more)
    assert right.code == 0
    assert "toy.zip  ok" in right.out
    assert "more.7z  not found" in right.out
    (tmp_path / "data/toy/toy.zip").write_bytes(b"else")
    wrong = bench("data", "verify", "toy", "data", *more)
    assert wrong.code == 2
    assert "toy.zip  differs" in wrong.out
    (tmp_path / "data/toy/toy.zip").unlink()
    assert "none of these archives" in bench("data", "verify", "toy", *more).err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("download", "btcv"), "no plain address serves it"),
        (("download", "phantom"), "is no public release"),
        (("verify", "phantom"), "is no public release"),
        (("verify", "btcv"), "publishes no checksums"),
        (("verify", "amos", "nowhere"), "folder not found: nowhere"),
    ],
)
def test_what_cannot_be_had_is_said(bench, command, message):
    answer = bench("data", *command)
    assert answer.code == 2
    assert message in answer.err

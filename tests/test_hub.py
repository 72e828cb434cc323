"""Models and the Hub: the cache's layout as the client makes it, uploads against a Hub on loopback, no network unasked."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import polysense
from polysense import errors, hub
from small import model, records


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A fitted model's folder."""
    folder = tmp_path_factory.mktemp("hub") / "weather"
    model("text_zh table").fit(records(60, views="text_zh table")).save(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def put(cache: Path, folder: Path, hub_id: str, revision: str = "0123abcd", main: bool = True) -> Path:
    """What snapshot_download leaves: blobs by hash, links to them in the snapshot, the revision in refs/main."""
    home = cache / ("models--" + hub_id.replace("/", "--"))
    snapshot = home / "snapshots" / revision
    (home / "blobs").mkdir(parents=True, exist_ok=True)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (len(link.relative_to(home).parts) - 1)) / "blobs" / blob.name)
    if main:
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(revision)
    (snapshot / ".gitattributes").write_text("*.safetensors filter=lfs")
    return snapshot


def test_a_model_in_the_cache_is_loaded_by_its_id(saved, cache):
    table = records(12, seed=5, views="text_zh table")
    snapshot = put(cache, saved, "org/weather")
    assert (snapshot / "model.json").is_symlink()
    ours, theirs = polysense.load(saved), polysense.load("org/weather")
    np.testing.assert_array_equal(ours.predict_proba(table), theirs.predict_proba(table))


def test_the_main_revision_counts(saved, cache, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(saved, other)
    (other / "README.md").write_text("older")
    put(cache, other, "org/weather", "ffff", main=False)
    newer = put(cache, saved, "org/weather", "0000")
    assert hub.find_model("org/weather") == newer
    (cache / "models--org--weather" / "refs" / "main").unlink()
    assert hub.find_model("org/weather").name == "ffff", "without it the last snapshot"


def test_a_folder_of_that_name_comes_first(saved, cache, tmp_path):
    put(cache, saved, "org/weather")
    shutil.copytree(saved, tmp_path / "org" / "weather")
    assert hub.find_model("org/weather") == Path("org/weather")


def test_an_id_that_is_not_here_says_download_and_nothing_is_fetched(cache, monkeypatch):
    monkeypatch.setattr(hub, "download", lambda *_: pytest.fail("nobody asked for it"))
    with pytest.raises(errors.BadModel, match="no folder org/nothing, .* add --download .in Python download=True."):
        polysense.load("org/nothing")


def test_a_file_missing_or_changed_in_the_cache_is_refused(saved, cache):
    snapshot = put(cache, saved, "org/weather")
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(errors.BadModel, match="sha256 differs"):
        polysense.load("org/weather")
    blob.unlink()
    with pytest.raises(errors.BadModel, match="missing"):
        polysense.load("org/weather")


# a Hub on loopback -----------------------------------------------------------------------------------


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub's interface as the client needs to upload plain files and to download them."""

    files: dict[str, bytes] = {}
    sha = "a" * 40

    def log_message(self, *arguments) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def reply(self, content: bytes | dict | list, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(content, bytes) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self) -> None:
        body = self.body()
        if "/preupload/" in self.path:
            wanted = json.loads(body)["files"]
            self.reply({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in wanted]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"commitUrl": "http://127.0.0.1/org/weather/commit/a", "commitOid": self.sha})
        else:
            self.reply({})

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            data = self.files[self.path.split("/resolve/")[1].split("/", 1)[1]]
            self.reply(data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', X_Repo_Commit=self.sha)
        elif "/tree/" in self.path:
            self.reply([{"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for n, d in self.files.items()])
        else:
            self.reply({"id": "org/weather", "sha": self.sha, "private": False, "tags": [], "downloads": 0, "likes": 0,
                        "siblings": [{"rfilename": name} for name in self.files]})

    do_HEAD = do_GET


@pytest.fixture
def loopback(monkeypatch, cache):
    """The client's endpoint is this machine."""
    pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    FakeHub.files = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield address
    server.shutdown()


def test_a_folder_is_uploaded_and_comes_back(saved, loopback, cache):
    """upload_folder as a user types it; then load with download=True answers alike."""
    from huggingface_hub import HfApi

    HfApi(endpoint=loopback, token="hf_x").upload_folder(folder_path=saved, repo_id="org/weather")
    assert set(FakeHub.files) == {path.name for path in saved.iterdir()}
    FakeHub.files[".gitattributes"] = b"*.safetensors filter=lfs\n"
    table = records(12, seed=5, views="text_zh table")
    fetched = polysense.load("org/weather", download=True)
    np.testing.assert_array_equal(polysense.load(saved).predict_proba(table), fetched.predict_proba(table))
    assert hub.find_model("org/weather").parts[-2:] == ("snapshots", FakeHub.sha), "from now on it is in the cache"


def test_a_download_that_fails_is_one_sentence(loopback, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}")
    with pytest.raises(errors.UnknownName, match="^model 'org/other' could not be downloaded"):
        polysense.load("org/other", download=True)


def test_the_commands_take_an_id(saved, cache, capsys, monkeypatch):
    from polysense import cli
    from door import write_table

    put(cache, saved, "org/weather")
    rows = [{name: value for name, value in row.items() if name != "label"} for row in records(5, views="text_zh table")]
    write_table(Path("t.csv"), rows)
    for arguments, words in ((["predict", "org/weather", "t.csv"], "row,prediction"), (["show", "org/weather"], "text_zh <- text.plain"),
                             (["predict", "org/wether", "t.csv"], "no folder org/wether")):
        monkeypatch.setattr("sys.argv", ["polysense", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        said = capsys.readouterr()
        assert words in said.out + said.err, arguments

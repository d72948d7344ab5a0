"""Downloads against a local server that is right, cut short, wrong, absent or stalled."""

import hashlib
import http.server
import threading

import pytest

from jinv.cli import main
from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv_convert import download as module
from jinv_convert.download import download
from jinv_convert.published import Published, find_published, published_names

BODY = bytes(range(256)) * 4000  # about 1 MB: more than one read
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY; `behaviour` says what goes wrong and `requests` what was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour, self.requests, self.release = "right", [], threading.Event()

    def url(self, name="file.pth"):
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        behaviour = self.server.behaviour
        if behaviour in ("404", "503"):
            return self.send_error(int(behaviour))
        start = int(asked.split("=")[1].rstrip("-")) if asked and behaviour != "ignores ranges" else 0
        if start >= len(BODY):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        stop = len(BODY)
        if behaviour == "truncated" or (behaviour == "truncated once" and len(self.server.requests) == 1):
            stop = start + (len(BODY) - start) // 2
        if behaviour == "stalled":
            self.wfile.write(BODY[start : start + 1000])
            self.wfile.flush()
            self.server.release.wait(20)
            return None
        self.wfile.write(BODY[start:stop] if behaviour != "wrong" else bytes(len(BODY) - start))

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("JINV_CACHE", str(tmp_path / "cache"))
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def file(server, sha256=SHA256[:8]):
    return Published("file", "file.pth", server.url(), sha256)


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def test_a_right_file_is_downloaded_once_and_its_progress_told(server, tmp_path):
    told = []
    path = download(file(server), progress=lambda done, total: told.append((done, total)))
    assert path == tmp_path / "cache" / "file.pth" and path.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY))
    assert download(file(server)) == path
    assert server.requests == [None]
    assert cached(tmp_path) == ["file.pth", "file.pth.sha256"]


def test_a_truncated_download_fails_and_the_next_call_continues_it(server, tmp_path):
    server.behaviour = "truncated"
    with pytest.raises(StorageError, match="closed after"):
        download(file(server), attempts=1)
    assert cached(tmp_path) == ["file.pth.part"]
    server.behaviour = "right"
    assert download(file(server)).read_bytes() == BODY
    assert server.requests == [None, f"bytes={len(BODY) // 2}-"]
    assert cached(tmp_path) == ["file.pth", "file.pth.sha256"]


def test_a_broken_connection_is_continued_within_the_call(server):
    server.behaviour = "truncated once"
    assert download(file(server)).read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_server_without_ranges_sends_the_whole_file_again(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file.pth.part").write_bytes(BODY[:1000])
    server.behaviour = "ignores ranges"
    assert download(file(server)).read_bytes() == BODY
    assert server.requests == ["bytes=1000-"]


def test_a_complete_part_file_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file.pth.part").write_bytes(BODY)
    assert download(file(server)).read_bytes() == BODY


def test_a_wrong_digest_is_refused_and_not_kept(server, tmp_path):
    server.behaviour = "wrong"
    with pytest.raises(UnsafeInputError, match=SHA256[:8]):
        download(file(server))
    assert cached(tmp_path) == []


def test_a_wrong_digest_is_taken_when_asked_for_and_not_passed_on(server, tmp_path):
    server.behaviour = "wrong"
    path = download(file(server), unverified=True)
    assert path.read_bytes() == bytes(len(BODY))
    assert download(file(server), unverified=True) == path and len(server.requests) == 1
    server.behaviour = "right"
    assert download(file(server)).read_bytes() == BODY


@pytest.mark.parametrize(("status", "requests"), [("404", 1), ("503", 3)])
def test_an_http_error_names_the_address_and_retries_only_the_servers_faults(server, status, requests):
    server.behaviour = status
    with pytest.raises(StorageError, match=f"file.pth: HTTP {status}"):
        download(file(server))
    assert len(server.requests) == requests


def test_a_stalled_server_times_out(server, tmp_path):
    server.behaviour = "stalled"
    with pytest.raises(StorageError, match="nothing came for 0.1 s"):
        download(file(server), timeout=0.1, attempts=2)
    assert (tmp_path / "cache" / "file.pth.part").stat().st_size >= 1000


def test_no_server_is_a_storage_error(server):
    with pytest.raises(StorageError, match="no connection"):
        download(Published("file", "file.pth", "http://127.0.0.1:1/file.pth", SHA256[:8]))


def test_without_a_published_digest_the_first_one_is_recorded_and_compared(server, tmp_path):
    path = download(file(server, sha256=""))
    assert (tmp_path / "cache" / "file.pth.sha256").read_text().split()[0] == SHA256
    path.write_bytes(BODY[:-1])
    with pytest.raises(UnsafeInputError, match="changed since"):
        download(file(server, sha256=""))


def test_without_a_digest_an_old_half_is_not_trusted(server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file.pth.part").write_bytes(b"another file's beginning")
    assert download(file(server, sha256="")).read_bytes() == BODY


def test_a_damaged_cached_file_is_fetched_again(server):
    path = download(file(server))
    path.write_bytes(b"damaged")
    assert download(file(server)).read_bytes() == BODY


def test_two_processes_do_not_write_into_one_part_file(server, tmp_path):
    (tmp_path / "cache").mkdir()
    with open(tmp_path / "cache" / "file.pth.part", "ab") as other:
        module._lock(other, tmp_path)
        with pytest.raises(StorageError, match="another process"):
            download(file(server))


def test_a_file_larger_than_any_checkpoint_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(StorageError, match="not a checkpoint"):
        download(file(server))


def test_published_names_carry_torchvisions_digests(monkeypatch):
    monkeypatch.delenv("JINV_MIRROR", raising=False)
    assert find_published("resnet50").url == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert find_published("resnet50").sha256 == "0676ba61"
    assert find_published("resnet50").origin.training == "torchvision"
    assert {find_published(n).origin.training for n in ("resnet50_l2_eps3", "imagenet_l2_3_0")} == {"robustness"}
    assert find_published("resnet50_l2_eps3").sha256 == ""
    assert len(find_published("resnet50_linf_eps4.0").sha256) == 64
    assert len(set(published_names())) == len(published_names())
    for name in published_names():
        assert find_published(name).url.startswith("https://")


def test_what_a_published_file_reaches_and_its_licence_are_said_before_it_is_fetched(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("JINV_MIRROR", "http://127.0.0.1:1")
    monkeypatch.setenv("JINV_CACHE", str(tmp_path))
    assert main(["convert", "resnet50", str(tmp_path / "out.safetensors")]) == 5
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("resnet50-0676ba61.pth, of torchvision, 76.1% of ImageNet's validation images")
    assert "(224 of 256 px); BSD-3-Clause" in said
    assert find_published("resnet50_l2_eps3").known.startswith("of robustness, 62.8%")
    assert "; MIT" in find_published("resnet50_l2_eps1").known and "%" not in find_published("resnet50_l2_eps1").known
    assert "no licence stated" in find_published("shufflenet_v2_x0_5").known


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        find_published("resnet5O")


def test_a_mirror_replaces_the_address(monkeypatch, server):
    monkeypatch.setenv("JINV_MIRROR", server.url("").rstrip("/"))
    assert find_published("imagenet_l2_3_0").url == server.url("imagenet_l2_3_0.pt")

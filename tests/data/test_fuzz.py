"""Hundreds of damaged files: each is told by path and reason, or is a picture after all. Nothing crashes, hangs or grows."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightline as sl
from sightline.data.decode import decode
from sightline.data.listing import list_images
from sightline.data.scene_files import write_scenes
from sightline.errors import DataError
from sightline.structures import ImageSpec

SUFFIXES = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP"}
EACH = 90  # damaged files of each kind
CHECK = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from sightline.cli import main
sys.argv = ["sightline", "check", *sys.argv[1:], "--json", "--no-cache", "--workers", "2"]
main()
"""


def run_check(folder: Path, *words: str) -> tuple[int, dict]:
    """`sightline check` in a process of its own, of bounded memory and time."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(folder), *words], capture_output=True, text=True, timeout=200
    )
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert done.returncode in (0, 2), (done.returncode, done.stderr[-2000:])
    return done.returncode, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


def encoded(kind: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((100, 80)).save(buffer, kind)
    return buffer.getvalue()


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Cut short, bits turned, zeros or noise in the middle, something put before, parts twice, or another file's end."""
    data = bytearray(content)
    way = draw.randrange(7)
    at, length = draw.randrange(len(data)), draw.randrange(1, 64)
    if way == 0:
        del data[at:]
    elif way == 1:
        for _ in range(draw.choice([1, 5, 50])):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif way == 2:
        data[at : at + length] = bytes(length)
    elif way == 3:
        data[at : at + length] = draw.randbytes(length)
    elif way == 4:
        data[:0] = draw.randbytes(length)
    elif way == 5:
        data[at:at] = data[: at // 2]
    else:
        head = draw.randrange(8, 64)
        data[:head] = draw.randbytes(head)
    return bytes(data)


def bombs() -> dict[str, bytes]:
    """Small files that say they are enormous."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b""))
    )
    text = zlib.compress(bytes(300 * 2**20))
    body = b"Comment\0\0" + text
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    small = encoded("PNG", 1)
    gif, bmp = bytearray(encoded("GIF", 1)), bytearray(encoded("BMP", 1))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    return {
        "size.png": png,
        "text.png": small[:33] + chunk + small[33:],
        "size.gif": bytes(gif),
        "size.bmp": bytes(bmp),
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    root, draw = tmp_path_factory.mktemp("corpus"), random.Random(0)
    for folder in ("one", "two"):
        (root / folder).mkdir()
        (root / folder / "good.png").write_bytes(encoded("PNG", len(folder) + ord(folder[0])))
    for suffix, kind in SUFFIXES.items():
        for i in range(EACH):
            (root / ("one", "two")[i % 2] / f"{suffix} {i}.{suffix}").write_bytes(damaged(encoded(kind, i), draw))
    for name, content in bombs().items():
        (root / "one" / name).write_bytes(content)
    (root / "two" / "empty.jpg").touch()
    (root / "two" / "text.png").write_text("no picture at all")
    (root / "two" / "renamed.jpg").write_bytes(encoded("WEBP", 3))
    return root


def test_damaged_images(corpus):
    files = list_images(corpus)
    assert len(files) >= 500
    _, told = run_check(corpus)
    unreadable = {path: reason for f in told["findings"] if f["kind"] == "unreadable" for path, reason in f["examples"]}
    assert len(unreadable) > 150
    assert all(reason.startswith(("is ", "cannot ", "takes ", "may ")) for reason in unreadable.values())
    spec = ImageSpec(24, 24, 3)
    for path in files:
        if str(path) in unreadable:
            continue
        try:
            pixels = decode(path, spec)
        except DataError as error:
            pytest.fail(f"the check found nothing, the decoder did: {error}")
        assert pixels.shape == spec.shape
    assert {str(corpus / "one" / name) for name in ("size.png", "size.gif", "size.bmp")} <= unreadable.keys()
    assert str(corpus / "two" / "renamed.jpg") not in unreadable  # a picture, whatever its name says


def finding_or_refusal(root: Path, task: str, format: str) -> str | None:
    """What the check says first of a data set, or why it cannot be read at all."""
    try:
        findings = sl.data.check(root, task, format, workers=1).findings
    except DataError as error:
        return str(error)
    return str(findings[0].problems[0]) if findings else None


LABELS = {
    ("detect", "coco"): "annotations/*.json", ("detect", "voc"): "Annotations/*.xml", ("detect", "yolo"): "labels/*/*.txt",
    ("detect", "csv"): "*.csv", ("segment", "masks"): "masks/*/*.png",
}  # fmt: skip


@pytest.mark.parametrize(("task", "format"), LABELS)
def test_damaged_labels(tmp_path, task, format):
    """Each label file is damaged in turn; the reader or the check tells it, or it still makes sense."""
    root, draw = tmp_path / "data", random.Random(format)
    write_scenes(root, task, {"train": 24, "validation": 6}, format=format, size=(48, 48))
    files = sorted(root.glob(LABELS[task, format]))
    assert files
    told = 0
    for round_ in range(max(30, 40 // len(files))):
        path = files[round_ % len(files)]
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, draw))
        said = finding_or_refusal(root, task, format)
        told += said is not None
        assert said is None or str(root) in said
        path.write_bytes(whole)
    assert told > 8


def test_no_file_is_touched_and_loops_of_links_end(tmp_path):
    write_scenes(tmp_path / "data", "classify", {"train": 40}, size=(24, 24))
    root = tmp_path / "data"
    (root / "train" / "0" / "loop").symlink_to(root, target_is_directory=True)
    (root / "train" / "loop").symlink_to(root / "train", target_is_directory=True)
    (root / "train" / "1" / "nowhere.png").symlink_to(root / "not there.png")
    before = {path: os.lstat(path).st_mtime_ns for path in sorted(root.rglob("*"))}
    for path in before:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)
    try:
        checked = sl.data.check(root)
    finally:
        root.chmod(0o755)
        for path in before:
            if not path.is_symlink():
                path.chmod(0o755)
    assert {path: os.lstat(path).st_mtime_ns for path in sorted(root.rglob("*"))} == before
    assert "loop" in checked.dataset.classes  # a linked class folder is a class
    missing = [problem for finding in checked.findings if finding.kind == "unreadable" for problem in finding.problems]
    assert {problem.path.name for problem in missing} == {"nowhere.png"}


def test_names_of_every_kind(tmp_path):
    names = [
        "Ein Bild.PNG",
        "写真.png",
        "a,b;c.png",
        "'quoted\".png",
        "-rf.png",
        "# no comment.png",
        "%41.png",
        "x" * 200 + ".png",
    ]
    for folder in ("große Äpfel", "$HOME"):
        (tmp_path / folder).mkdir()
        for i, name in enumerate(names):
            (tmp_path / folder / name).write_bytes(encoded("PNG", i + len(folder)))
        (tmp_path / folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"not UTF-8, and no picture")
    checked = sl.data.check(tmp_path, workers=1)
    assert len(checked.dataset.samples) == 18
    (unreadable,) = [finding for finding in checked.findings if finding.kind == "unreadable"]
    assert unreadable.count == 2
    code, _ = run_check(tmp_path)
    assert code == 0


@pytest.mark.slow
def test_a_hundred_thousand_files_in_one_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(50_000 if name == "a" else 3):
            (tmp_path / name / f"{i}.png").touch()
    for i in range(50_000):
        (tmp_path / "a" / f"{i}.jpg").touch()
    dataset = sl.data.read(tmp_path)
    assert dataset.counts("all") == [100_000, 3]

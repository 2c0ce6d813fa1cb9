"""The pixel cache: the same pixels cold and warm, whole or not there, bounded, and shared by processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import cache
from sightline.data.cache import KEY, on_disk, open_rows
from sightline.data.decode import decode
from sightline.data.images import Images, decode_row, row_bytes
from sightline.structures import ImageSpec, Sample

SPEC = ImageSpec(8, 10, 3)
SIZE = row_bytes(SPEC, masks=False)


def photos(folder: Path, n: int = 12) -> list[Sample]:
    folder.mkdir(exist_ok=True)
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return [Sample(folder / f"{i:02d}.png", i % 3) for i in range(n)]


def opened(samples: list[Sample], folder: Path, limit: int | None = None) -> cache.PixelCache:
    return on_disk(folder, samples[0].path.parent, samples, repr(SPEC), SIZE, limit)


def filled(samples: list[Sample], folder: Path) -> cache.PixelCache:
    kept = opened(samples, folder)
    for i in kept.missing:
        kept.put(i, decode_row(samples[i], SPEC))
    kept.seal()
    return kept


def test_the_second_run_decodes_nothing(tmp_path, monkeypatch):
    samples = photos(tmp_path / "photos")
    cold = [
        example.pixels.copy() for example in map(Images(samples, SPEC, filled(samples, tmp_path / "c")).load, range(12))
    ]
    kept = opened(samples, tmp_path / "c")
    assert kept.missing == []
    monkeypatch.setattr("sightline.data.images.decode", lambda *_: pytest.fail("decoded again"))
    images = Images(samples, SPEC, kept)
    for i, sample in enumerate(samples):
        assert np.array_equal(images.load(i).pixels, cold[i])
        assert np.array_equal(cold[i], decode(sample.path, SPEC))


def test_runs_with_other_splits_share_the_rows(tmp_path):
    samples = photos(tmp_path / "photos")
    filled(samples, tmp_path / "c")
    kept = opened(samples[::-2], tmp_path / "c")
    assert kept.missing == []
    for i, sample in enumerate(samples[::-2]):
        assert np.array_equal(kept.get(i), decode_row(sample, SPEC))


@pytest.mark.parametrize("change", ["content", "time", "another spec", "new file"])
def test_what_has_changed_is_decoded_again(tmp_path, change):
    samples = photos(tmp_path / "photos")
    filled(samples, tmp_path / "c")
    spec, expected = SPEC, [3]
    if change == "content":
        Image.new("RGB", (16, 20), "red").save(samples[3].path)
    elif change == "time":
        os.utime(samples[3].path, (1, 1))
    elif change == "another spec":
        spec, expected = ImageSpec(8, 10, 3, "crop"), list(range(12))
    else:
        samples, expected = photos(tmp_path / "photos", 13), [12]
        for sample in samples[:12]:  # written again: all are new
            os.utime(sample.path)
        expected = list(range(13))
    kept = on_disk(tmp_path / "c", samples[0].path.parent, samples, repr(spec), SIZE)
    assert kept.missing == expected
    for i in expected:
        kept.put(i, decode_row(samples[i], spec))
    kept.seal()
    again = on_disk(tmp_path / "c", samples[0].path.parent, samples, repr(spec), SIZE)
    assert again.missing == []
    assert all(np.array_equal(again.get(i), decode_row(s, spec)) for i, s in enumerate(samples))


def test_nothing_is_there_before_it_is_whole(tmp_path):
    samples = photos(tmp_path / "photos")
    kept = opened(samples, tmp_path / "c")
    for i in range(11):
        kept.put(i, decode_row(samples[i], SPEC))
    kept.seal()  # one row is missing
    assert [p.suffix for p in (tmp_path / "c").iterdir()] == [".tmp"]
    assert opened(samples, tmp_path / "d").missing == list(range(12))
    kept.close()
    assert list((tmp_path / "c").iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_cache import photos, opened, SPEC
from sightline.data.images import decode_row
folder = Path({folder!r})
samples = photos(folder / "photos")
kept = opened(samples, folder / "c")
for i in kept.missing[:7]:
    kept.put(i, decode_row(samples[i], SPEC))
print("half way", flush=True)
time.sleep(60)
"""


def test_a_kill_leaves_no_half_truth(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "half way\n"
    child.kill()
    child.wait()
    left = list((tmp_path / "c").iterdir())
    assert [p.suffix for p in left] == [".tmp"]
    samples = [Sample(path, 0) for path in sorted((tmp_path / "photos").iterdir())]
    kept = opened(samples, tmp_path / "c")
    assert kept.missing == list(range(12))  # nothing of the killed one is taken
    assert left[0] not in (tmp_path / "c").iterdir()  # and what it left is gone
    kept.close()


def test_two_builders_do_not_disturb_one_another(tmp_path):
    samples = photos(tmp_path / "photos")
    first, second = opened(samples, tmp_path / "c"), opened(samples, tmp_path / "c")
    for i, sample in enumerate(samples):
        first.put(i, decode_row(sample, SPEC))
    first.seal()
    for i, sample in enumerate(samples):
        assert np.array_equal(first.get(i), decode_row(sample, SPEC))
        second.put(i, decode_row(sample, SPEC))
    second.seal()
    third = opened(samples, tmp_path / "c")
    for kept in (first, second, third):
        assert all(np.array_equal(kept.get(i), decode_row(s, SPEC)) for i, s in enumerate(samples))
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_the_least_recently_used_goes(tmp_path):
    room = 2 * 12 * (SIZE + KEY)
    sets = [photos(tmp_path / name) for name in ("a", "b", "c")]
    paths = []
    for number, samples in enumerate(sets[:2]):
        before = set((tmp_path / "cache").glob("*"))
        filled(samples, tmp_path / "cache")
        paths += set((tmp_path / "cache").glob("*")) - before
        os.utime(paths[-1], (number + 1, number + 1))
    opened(sets[0], tmp_path / "cache", room)  # used: now b is the older
    opened(sets[2], tmp_path / "cache", room)
    assert paths[0].exists()
    assert not paths[1].exists()


def test_a_data_set_larger_than_the_limit_is_cached_in_part(tmp_path):
    samples = photos(tmp_path / "photos")
    room = 5 * (SIZE + KEY) + 3
    kept = opened(samples, tmp_path / "c", room)
    assert kept.missing == [0, 1, 2, 3, 4]
    images = Images(samples, SPEC, kept)
    assert all(np.array_equal(images.load(i).pixels, decode(s.path, SPEC)) for i, s in enumerate(samples))
    kept.seal()
    assert sum(p.stat().st_size for p in (tmp_path / "c").iterdir()) <= room
    again = opened(samples, tmp_path / "c", room)
    assert again.missing == []
    assert [again.get(i) is not None for i in range(12)] == [True] * 5 + [False] * 7


def test_a_damaged_cache_is_made_anew(tmp_path):
    samples = photos(tmp_path / "photos")
    filled(samples, tmp_path / "c")
    (path,) = (tmp_path / "c").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert len(open_rows(path, SIZE)[0]) == 0
    assert opened(samples, tmp_path / "c").missing == list(range(12))


def test_what_nobody_builds_any_more_is_removed_and_the_rest_kept(tmp_path):
    samples = photos(tmp_path / "photos")
    folder = tmp_path / "c"
    folder.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = cache._host()
    names = {
        f"pixels-x.{host}.{dead.pid}.00.tmp": False, f"pixels-x.{host}.{os.getpid()}.00.tmp": True,
        "pixels-x.elsewhere.1.00.tmp": True, "pixels-y.elsewhere.1.00.tmp": False,
    }  # fmt: skip
    for name in names:
        (folder / name).write_bytes(b"x")
    old = time.time() - cache.STALE - 10
    os.utime(folder / "pixels-y.elsewhere.1.00.tmp", (old, old))
    opened(samples, folder)
    assert {name: (folder / name).exists() for name in names} == names

"""One look at every file of a data set: what it is, whether it can be read, and what it looks like from afar.

Checks, duplicates and splits follow from these facts. They are kept beside the pixel caches, a row for each sample, and
looked up again only where a file has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..files import atomic_write
from ..structures import ImageSpec, Sample
from .cache import KEY, sample_key
from .decode import fit, opened, upright_size
from .mask_files import read_mask

THUMBNAIL = 16  # pixels a side
DIGEST = 16  # bytes
_AFAR = ImageSpec(THUMBNAIL, THUMBNAIL, 1)


@dataclass(frozen=True)
class Facts:
    """What was seen of one sample. `size` (height, width) is the upright image's, `digest` of its file's bytes, `thumbnail`
    uint8 (16, 16) its grays; `problem` says why it cannot be read, and then the others are None. So for the mask, whose
    `mask_unknown` are the values that stand for no class."""

    size: tuple[int, int] | None = None
    digest: bytes | None = None
    thumbnail: np.ndarray | None = None
    problem: str | None = None
    mask_size: tuple[int, int] | None = None
    mask_unknown: tuple[int, ...] = ()
    mask_problem: str | None = None


def look(sample: Sample) -> Facts:
    """The facts of one sample; what is wrong with its files is one of them."""
    facts = _look_at_image(sample.path)
    if sample.mask is None:
        return facts
    try:
        classes, unknown = read_mask(sample.mask)
    except DataError as error:
        return replace(facts, mask_problem=error.reason(sample.mask.path))
    return replace(facts, mask_size=(classes.shape[0], classes.shape[1]), mask_unknown=unknown)


def _look_at_image(path: Path) -> Facts:
    try:
        with opened(path) as image:
            size = upright_size(image)
            afar = fit(image, _AFAR)[..., 0]
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST)).digest()
            return Facts(size, digest, afar)
    except DataError as error:
        return Facts(problem=error.reason(path))


def census(
    samples: Sequence[Sample],
    workers: int,
    *,
    folder: Path | None = None,
    root: Path | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Facts]:
    """The facts of all samples, in order. With `folder` those of `root` are kept there, and used where files are the same.

    `advance(n)` is told of every n further samples. A folder that cannot be written costs the keeping, no more.
    """
    keys = [sample_key(sample, "facts") for sample in samples]
    kept = None if folder is None or root is None else _kept_at(folder, root)
    known = {} if kept is None else read_facts(kept)
    unknown = [i for i, key in enumerate(keys) if key not in known]
    advance(len(samples) - len(unknown))
    found = {i: known[key] for i, key in enumerate(keys) if key in known}
    with ThreadPoolExecutor(workers) as pool:
        for i, facts in zip(unknown, pool.map(look, (samples[i] for i in unknown)), strict=True):
            found[i] = facts
            advance(1)
    answer = [found[i] for i in range(len(samples))]
    if kept is not None and unknown:
        try:
            write_facts(kept, keys, answer)
        except OSError:
            return answer  # nowhere to keep them: they are looked up again next time
    return answer


def _kept_at(folder: Path, root: Path) -> Path:
    return folder / f"facts-{hashlib.blake2b(os.fsencode(root.resolve()), digest_size=12).hexdigest()}.npz"


def write_facts(path: Path, keys: Sequence[bytes], facts: Sequence[Facts]) -> None:
    """Write facts by key, whole or not at all."""
    notes = {
        i: [f.problem, f.mask_problem, list(f.mask_unknown)]
        for i, f in enumerate(facts)
        if f.problem is not None or f.mask_problem is not None or f.mask_unknown
    }
    blank, none = np.zeros((THUMBNAIL, THUMBNAIL), np.uint8), bytes(DIGEST)
    arrays: dict[str, np.ndarray] = {
        "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY),
        "sizes": np.array([f.size or (0, 0) for f in facts], np.int32).reshape(-1, 2),
        "digests": np.frombuffer(b"".join(f.digest or none for f in facts), np.uint8).reshape(-1, DIGEST),
        "thumbnails": np.array([blank if f.thumbnail is None else f.thumbnail for f in facts]).reshape(
            -1, *blank.shape
        ),
        "mask_sizes": np.array([f.mask_size or (0, 0) for f in facts], np.int32).reshape(-1, 2),
        "notes": np.frombuffer(json.dumps(notes).encode(), np.uint8),
    }
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_facts(path: Path) -> dict[bytes, Facts]:
    """What `write_facts` wrote, by key; nothing where there is no such file, or none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            rows = {name: stored[name] for name in ("keys", "sizes", "digests", "thumbnails", "mask_sizes", "notes")}
        notes = json.loads(rows["notes"].tobytes())
        facts = {}
        for i, (key, size, mask_size) in enumerate(
            zip(rows["keys"], rows["sizes"].tolist(), rows["mask_sizes"].tolist(), strict=True)
        ):
            problem, mask_problem, unknown = notes.get(str(i), (None, None, ()))
            mask = Facts(
                None, None, None, problem, tuple(mask_size) if mask_size[0] else None, tuple(unknown), mask_problem
            )
            seen = replace(mask, size=tuple(size), digest=rows["digests"][i].tobytes(), thumbnail=rows["thumbnails"][i])
            facts[key.tobytes()] = seen if problem is None else mask
        return facts
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile):
        return {}  # a memory aid that is missing or damaged is made anew

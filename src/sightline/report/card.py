"""card.md: the facts of a run as a model card (Mitchell et al., "Model Cards for Model Reporting", 2019), for who publishes the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .page import Page

PIPELINES = {"classify": "image-classification", "segment": "image-segmentation"}  # of others: object-detection
MOST_ROWS = 100  # classes in a table


def card(page: Page) -> str:
    """The model card in Markdown, with the YAML head that model hubs read."""
    parts = [_head(page), *_about(page), *_data(page), *_quality(page), *_network(page), *_again(page)]
    return "\n\n".join(parts) + "\n"


def _head(page: Page) -> str:
    pipeline = PIPELINES.get(page.task.name, "object-detection")
    return f"---\nlibrary_name: sightline\npipeline_tag: {pipeline}\ntags:\n- sightline\n- {page.task.name}\n---"


def _about(page: Page) -> Iterable[str]:
    yield f"# {_plain(page.name)}"
    yield (
        f"A network that {page.does}: {_code(page.settings.model)}, trained for {page.epochs} "
        f"{'epoch' if page.epochs == 1 else 'epochs'} on {_code(page.data_name)} with Sightline {page.environment['versions']['sightline']}. "
        f"It is fed pictures of {page.image.width}x{page.image.height} pixels ({page.image.resize})."
    )
    if page.task.tile is not None:
        yield f"It learned from tiles of {page.task.tile} pixels of larger pictures, and looks at such pictures whole and in tiles."
    yield f"Classes: {', '.join(map(_code, page.classes))}."
    yield "## Use"
    yield f'```python\nimport sightline as sl\n\nrun = sl.Run({page.name!r})  # this folder, or its weights/best.sightline\nanswers, unreadable = run.predict("photo.jpg")\n```'
    yield (
        "It knows only what its training pictures showed: on pictures of another kind, of other cameras or places, or of things that "
        "belong to none of its classes, the figures below do not hold. Measure it on your own pictures before you rely on it: "
        f"`sightline evaluate {page.name} PICTURES`."
    )


def _data(page: Page) -> Iterable[str]:
    yield "## Training data"
    splits = page.data["splits"]
    yield _table(["split", "pictures"], [[name, str(len(samples))] for name, samples in splits.items()])
    given = page.data["given splits"]
    yield "The splits are the folder's own." if given else "The splits were drawn at random."
    findings = page.data.get("findings")
    if findings is None:
        yield "The data were not checked."
    elif findings:
        rows = [[each["severity"], each["meaning"], str(each["count"])] for each in findings]
        yield "What the check of the data found:"
        yield _table(["severity", "what", "count"], rows)
    else:
        yield "The check of the data found no copies, no damaged files and no impossible labels."


def _quality(page: Page) -> Iterable[str]:
    measures, meanings = page.measures, page.task.meanings
    yield "## How good it is"
    chosen = (
        "which also chose the best epoch, so this is optimistic"
        if measures.split == "validation"
        else "which neither trained it nor chose its epoch"
    )
    yield f"Measured on {measures.n} pictures of the {measures.split} split, {chosen}."
    rows = []
    for each in measures.headlines:
        value = f"{100 * each.value:.1f} %" if each.is_known else "not known: nothing to measure it on"
        interval = "{:.1f} to {:.1f} %".format(*(100 * end for end in each.interval)) if each.interval else "-"
        rows.append([each.name, value, interval, meanings.get(each.name, "")])
    yield _table(["measure", "value", "95 % interval", "what it means"], rows)
    if page.majority is not None:
        yield f"Always saying the most frequent class would score {100 * page.majority:.1f} %."
    yield from (f"{remark}." for remark in page.remarks)
    classes = measures.details["classes"]
    if classes:
        yield "### By class"
        heads = ["F1" if name == "f1" else name for name in page.columns]
        yield _table(heads, [[_shown(row[name]) for name in page.columns] for row in classes[:MOST_ROWS]])
        if len(classes) > MOST_ROWS:
            yield f"The first {MOST_ROWS} of {len(classes)} classes."


def _network(page: Page) -> Iterable[str]:
    yield "## What it costs"
    if page.needs is not None:
        yield _table(["what", "how much", "meaning"], [list(row) for row in page.needs.rows()])
    else:
        yield f"Not known: {page.left_out.get('memory and cost', '')}."
    if page.stages:
        yield "### How much of a picture one place of each stage sees"
        shares = {stage.name: share for stage, share in page.larger}
        rows = [[_code(s.name), s.sees, s.stride, _shown(shares.get(s.name))] for s in page.stages]
        yield _table(["stage", "sees", "stride", "objects that are larger"], rows)
    if page.invariance is not None:
        yield f"### How its answers hold when a picture changes ({page.invariance.n} pictures)"
        rows = [
            [name, f"{strength:g} {curve.unit}", f"{100 * share:.0f} %"]
            for name, curve in page.invariance.curves.items()
            for strength, share in zip(curve.strengths, curve.agreement, strict=True)
            if strength != curve.neutral
        ]
        yield _table(["change", "strength", "answers that stay"], rows)


def _again(page: Page) -> Iterable[str]:
    hardware = page.environment["hardware"]
    yield "## To do it again"
    yield f"```\n{page.settings.command()}\n```"
    versions = ", ".join(f"{name} {version}" for name, version in page.environment["versions"].items())
    yield f"{versions}; {hardware['processor']}, {hardware['cores']} cores, {hardware['device']}."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that is no Markdown: what a name holds must not become a link or a tag."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if isinstance(value, float) else _plain(str(value))

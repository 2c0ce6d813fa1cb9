"""CSP networks, and what makes a detector of any backbone with stages: a feature pyramid and decoupled heads.

The backbones are those of YOLOX (Ge et al. 2021), CSPDarknet (Wang et al. 2020; Bochkovskiy et al. 2020) by depth and width, with a
stem of two strided convolutions; n is YOLOX's nano with full convolutions. The pyramid goes down and up again (Lin et al. 2017;
Liu et al. 2018), and at each place one branch says the classes and one the box (YOLOX, section 2.1). p, for small pictures and
minutes of training on a CPU, has the fewest layers: depth 0 leaves of each part only what no detector can do without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..graph.symbolic import Value
from ..initializers import Constant
from ..layers import Add, Concatenate, Conv2D, MaxPooling2D, UpSampling2D
from ..layers.places import PlaceBoxes, PlaceValues
from .family import Architecture, conv_bn, pooled_head, stage

ACTIVATION = "silu"
PRIOR = 0.01  # a place's score for each class before it has learned (Lin et al. 2017, focal loss, section 4.1)


@dataclass(frozen=True)
class Size:
    """A member of the family: blocks are repeated `depth` times as often as in the large one, with `width` times its filters.

    At depth 0 a block is one bottleneck (Redmon & Farhadi 2018, YOLOv3, section 2.4), the pyramid goes down alone, and one
    convolution at each place serves both class and box.
    """

    depth: float
    width: float

    def repeats(self, blocks: int) -> int:
        return max(1, round(blocks * self.depth)) if self.depth else 0

    def filters(self, filters: int) -> int:
        return max(8, 8 * math.ceil(filters * self.width / 8))


SIZES = {"p": Size(0, 0.25), "n": Size(0.33, 0.25), "s": Size(0.33, 0.5), "m": Size(0.67, 0.75)}


def conv(x: Value, filters: int, kernel_size: int, name: str, strides: int = 1) -> Value:
    return conv_bn(
        x, filters, kernel_size, name, f"{name}_bn", strides=strides, activation=ACTIVATION, epsilon=1e-3, momentum=0.97
    )


def csp(x: Value, filters: int, blocks: int, name: str, *, shortcut: bool = True) -> Value:
    """A cross-stage-partial block: half of the channels go through bottlenecks, half around them. Without any it is one."""
    half = filters // 2
    if not blocks:
        return conv(conv(x, half, 1, f"{name}_in"), filters, 3, f"{name}_out")
    around = conv(x, half, 1, f"{name}_around")
    through = conv(x, half, 1, f"{name}_in")
    for i in range(blocks):
        y = conv(conv(through, half, 1, f"{name}_{i}_1"), half, 3, f"{name}_{i}_2")
        through = Add(name=f"{name}_{i}_add")([through, y]) if shortcut else y
    return conv(Concatenate(name=f"{name}_join")([through, around]), filters, 1, f"{name}_out")


def pyramid_pooling(x: Value, filters: int, name: str) -> Value:
    """Maxima of windows of 5, 9 and 13 beside the map itself, by three poolings of 5 in a row (He et al. 2015; YOLOX)."""
    maps = [conv(x, filters // 2, 1, f"{name}_in")]
    for i in range(3):
        maps.append(MaxPooling2D(5, 1, "same", name=f"{name}_pool{i}")(maps[-1]))
    return conv(Concatenate(name=f"{name}_join")(maps), filters, 1, f"{name}_out")


def features(x: Value, size: Size) -> Value:
    x = conv(x, size.filters(32), 3, "stem1", strides=2)
    for i, (filters, blocks) in enumerate(((64, 3), (128, 6), (256, 9), (512, 3))):
        x = conv(x, size.filters(2 * filters if i else filters), 3, f"down{i}", strides=2)
        x = csp(x, size.filters(2 * filters if i else filters), size.repeats(blocks), f"csp{i}")
        if i == 3:
            x = pyramid_pooling(x, size.filters(1024), "spp")
        x = stage(x, 4 << i)
    return x


def detection_head(maps: Sequence[Value], strides: Sequence[int], classes: int, size: Size) -> Value:
    """(A, 4 + classes) from maps at rising strides: a box xyxy in pixels and logits for each of their places, map by map."""
    joined = path_aggregation(maps, size)
    width = size.filters(256)
    boxes, logits = [], []
    for x, stride in zip(joined, strides, strict=True):
        name = f"head_{stride}"
        x = conv(x, width, 1, f"{name}_stem")
        said, where = branches(x, width, name, size)
        prior = Constant(-math.log((1 - PRIOR) / PRIOR))
        said = Conv2D(classes, 1, bias_initializer=prior, name=f"{name}_classes")(said)
        where = Conv2D(4, 1, bias_initializer=Constant(math.log(2.0)), name=f"{name}_box")(where)
        logits.append(PlaceValues(name=f"{name}_logits")(said))
        boxes.append(PlaceBoxes(stride, name=f"{name}_boxes")(where))
    return Concatenate(axis=-1, name="predictions")(
        [Concatenate(axis=1, name="boxes")(boxes), Concatenate(axis=1, name="logits")(logits)]
    )


def branches(x: Value, width: int, name: str, size: Size) -> tuple[Value, Value]:
    """What the classes are read from, and what the box is."""
    if not size.depth:
        both = conv(x, width, 3, f"{name}_both")
        return both, both
    said = conv(conv(x, width, 3, f"{name}_class1"), width, 3, f"{name}_class2")
    where = conv(conv(x, width, 3, f"{name}_box1"), width, 3, f"{name}_box2")
    return said, where


def path_aggregation(maps: Sequence[Value], size: Size) -> list[Value]:
    """Maps in which each has seen the coarser ones and then, but for depth 0, the finer ones; every map has 256, 512, 1024 ...
    filters by width."""
    filters = [size.filters(256 << i) for i in range(len(maps))]
    blocks = size.repeats(3)
    x, laterals, joined = maps[-1], [], [maps[-1]]
    for i in range(len(maps) - 2, -1, -1):  # from coarse to fine
        laterals.append(conv(x, filters[i], 1, f"fpn_lateral{i}"))
        larger = UpSampling2D(2, name=f"fpn_up{i}")(laterals[-1])
        x = csp(Concatenate(name=f"fpn_join{i}")([larger, maps[i]]), filters[i], blocks, f"fpn_csp{i}", shortcut=False)
        joined.insert(0, x)
    if not size.depth:
        return joined
    joined = [x]
    for i in range(1, len(maps)):  # and back
        smaller = conv(joined[-1], filters[i - 1], 3, f"pan_down{i}", strides=2)
        both = Concatenate(name=f"pan_join{i}")([smaller, laterals.pop()])
        joined.append(csp(both, filters[i], blocks, f"pan_csp{i}", shortcut=False))
    return joined


ARCHITECTURES = {
    f"yolo_{name}": Architecture(
        partial(features, size=size),
        pooled_head,
        f"CSPDarknet as in YOLOX, depth {size.depth}, width {size.width} (Ge et al., 2021, section 2)",
        (416, 416, 3),
        80,
        minimum=32,
    )
    for name, size in SIZES.items()
}

"""Losses of segmentation against torch and NumPy in float64; parts of a batch against the whole."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sightline as sl
from sightline.configurable import as_plain, from_plain
from sightline.losses import PixelCrossentropy, PixelDice, PixelFocal, SumOfLosses, class_weights
from sightline.losses.reduction import reduced_part
from sightline.training.batches import Batch
from sightline.training.parts import Whole, in_parts

WEIGHTS = (0.3, 2.0, 1.1)
LOSSES = {
    "crossentropy": lambda: PixelCrossentropy(),
    "weighted crossentropy": lambda: PixelCrossentropy(WEIGHTS),
    "weights alike": lambda: PixelCrossentropy(WEIGHTS, reduction="mean_with_sample_weight"),
    "summed": lambda: PixelCrossentropy(WEIGHTS, reduction="sum"),
    "focal": lambda: PixelFocal(1.5, WEIGHTS),
    "dice": lambda: PixelDice(),
    "sum": lambda: SumOfLosses([(PixelCrossentropy(WEIGHTS), 0.7), (PixelDice(0.1), 2), (PixelFocal(), -0.5)]),
}


def maps(seed=0, n=3, classes=3, height=4, width=5, dtype=torch.int64):
    """Logits in channels_last memory and targets, of which about a quarter is ignored."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(3 * rng.standard_normal((n, classes, height, width)))
    numbers = np.where(rng.random((n, height, width)) < 0.25, 255, rng.integers(0, classes, (n, height, width)))
    logits = logits.contiguous(memory_format=torch.channels_last).requires_grad_()
    return torch.from_numpy(numbers).to(dtype), logits


def value_and_gradient(loss, logits):
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_crossentropy_is_torchs(weights, dtype):
    for seed in range(3):
        y, logits = maps(seed, dtype=dtype)
        weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        theirs = F.cross_entropy(logits, y.long(), weight=weight, ignore_index=255)
        same(value_and_gradient(PixelCrossentropy(weights)(y, logits), logits), value_and_gradient(theirs, logits))
        values = F.cross_entropy(logits, y.long(), weight=weight, ignore_index=255, reduction="none")
        same(PixelCrossentropy(weights, reduction="sum")(y, logits), values.sum())


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2.0, 5])
def test_focal_is_its_formula(gamma):
    y, logits = maps(4)
    known = y != 255
    p = torch.softmax(logits, 1).permute(0, 2, 3, 1)[known].gather(1, y[known][:, None])[:, 0]
    alpha = torch.tensor(WEIGHTS, dtype=torch.float64)[y[known]]
    theirs = (alpha * (1 - p) ** gamma * -p.log()).sum() / alpha.sum()
    same(value_and_gradient(PixelFocal(gamma, WEIGHTS)(y, logits), logits), value_and_gradient(theirs, logits))
    if not gamma:
        same(PixelFocal(0, WEIGHTS)(y, logits), PixelCrossentropy(WEIGHTS)(y, logits))


def test_focal_of_the_certain_has_a_gradient():
    sure = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    for gamma in (0.0, 0.5, 2.0):
        loss, gradient = value_and_gradient(PixelFocal(gamma)(torch.zeros(1, 1, 1).long(), sure), sure)
        assert loss == 0
        assert gradient.abs().max() == 0


@pytest.mark.parametrize("smooth", [0, 1.0, 30.0])
def test_dice_is_its_formula_image_by_image(smooth):
    for seed in range(3):
        y, logits = maps(seed)
        y[1][y[1] == 2] = 0  # a class that one image lacks
        p = torch.softmax(logits.detach(), 1).numpy()
        images = []
        for i in range(3):
            known = y[i].numpy() != 255
            each = []
            for c in np.unique(y[i].numpy()[known]):
                true, said = y[i].numpy()[known] == c, p[i, c][known]
                each.append((2 * said[true].sum() + smooth) / (said.sum() + true.sum() + smooth))
            images.append(1 - np.mean(each))
        assert float(PixelDice(smooth)(y, logits).detach()) == pytest.approx(np.mean(images), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: PixelDice(smooth)(y, x), logits)


def test_an_image_of_which_nothing_is_known_does_not_count_in_dice():
    y, logits = maps()
    y[0] = 255
    same(PixelDice()(y, logits), PixelDice()(y[1:], logits[1:]))


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_known_is_no_loss_and_no_gradient(loss):
    _, logits = maps()
    found, gradient = value_and_gradient(LOSSES[loss]()(torch.full((3, 4, 5), 255), logits), logits)
    assert found == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("weighted", [None, "image", "pixel"])
@pytest.mark.parametrize("loss", LOSSES)
def test_parts_add_up_to_the_batch(loss, weighted):
    loss = LOSSES[loss]()
    y, logits = maps(7, n=5)
    y[:2] = 255  # a part in which nothing counts
    weights = None if weighted is None else torch.rand(*((5,) if weighted == "image" else (5, 4, 5))).double()
    if weighted == "pixel" and not isinstance(loss, (PixelCrossentropy, PixelFocal)):
        with pytest.raises(sl.errors.ShapeError):  # Dice has one value an image
            loss(y, logits, weights)
        return
    whole = value_and_gradient(loss(y, logits, weights), logits)
    for parts in (1, 2, 5):
        batch = Batch((logits,), (y,), (weights,), 5)
        total, divisors = torch.zeros(()), Whole(batch)
        for part in in_parts(batch, parts):
            for number, (term, share) in enumerate(loss.terms()):
                values, mask = term.values(part.targets[0], part.inputs[0])
                divisor = divisors.divisor(0, number, term, values, part.inputs[0])
                total = total + share * reduced_part(values, part.size, part.weights[0], divisor, mask)
        torch.testing.assert_close(value_and_gradient(total, logits), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["weighted crossentropy", "sum"])
def test_a_step_in_parts_learns_the_same(loss):
    rng = np.random.default_rng(0)
    x = rng.random((6, 4, 5, 2), np.float32)
    y = maps(3, n=6)[0].numpy()
    found = []
    for parts in (1, 4):
        torch.manual_seed(0)
        model = sl.Sequential([sl.layers.Conv2D(3, 3, padding="same", input_shape=(4, 5, 2))]).double()
        model.compile("sgd", loss=LOSSES[loss](), metrics=[sl.metrics.PixelAccuracy()])
        step = model._step("fit", update=True)
        step.parts = parts
        history = model.fit(x.astype(np.float64), y, epochs=2, batch_size=6, verbose=0, shuffle=False).history
        found.append((history["loss"], history["pixel_accuracy"], [w.detach() for w in model.parameters()]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_sum_is_the_sum_of_its_terms():
    y, logits = maps()
    one, other = PixelCrossentropy(WEIGHTS), PixelDice()
    expected = 0.5 * one(y, logits) + 2 * other(y, logits)
    same(SumOfLosses({one: 0.5, other: 2})(y, logits), expected)
    nested = SumOfLosses([(SumOfLosses([(one, 1), (other, 4)]), 0.5)])
    same(nested(y, logits), expected)
    assert [weight for _, weight in nested.terms()] == [0.5, 2]


@pytest.mark.parametrize("loss", LOSSES)
def test_configurations_and_blank_targets(loss):
    loss = LOSSES[loss]()
    kinds = {kind.__name__: kind for kind in sl.losses.LOSSES.values()}
    written = json.loads(json.dumps(as_plain(loss)))
    again = from_plain(written, kinds)
    y, logits = maps()
    assert as_plain(again) == as_plain(loss)
    assert torch.equal(again(y, logits), loss(y, logits))
    assert loss.blank_targets(7, (3, 4, 5)).shape == (7, 4, 5)
    assert repr(loss).startswith(type(loss).__name__)


def test_class_weights_by_hand():
    counts = np.array([[60, 40, 0, 0], [100, 0, 0, 0], [20, 0, 80, 0]])
    inverse = np.array([300 / 180, 300 / 40, 300 / 80, 0])
    median = np.array([300 / 180, 100 / 40, 100 / 80, 0])  # Eigen & Fergus: by the pixels of images that have the class
    np.testing.assert_allclose(class_weights(counts), inverse / inverse[:3].mean(), rtol=1e-12)
    np.testing.assert_allclose(class_weights(counts.sum(0)), class_weights(counts), rtol=1e-12)
    np.testing.assert_allclose(class_weights(counts, "median"), median / median[:3].mean(), rtol=1e-12)
    PixelCrossentropy(class_weights(counts))


def test_mistakes_get_a_sentence():
    y, logits = maps()
    with pytest.raises(sl.errors.ArgumentError, match=r"one weight for each class\. Expected: 3\. Received: 2"):
        PixelCrossentropy([1, 2])(y, logits)
    for weights in ([1, -1], [0, 0], [[1]], [float("nan")]):
        with pytest.raises(sl.errors.ArgumentError, match="class_weights are numbers of at least 0"):
            PixelFocal(class_weights=weights)
    with pytest.raises(sl.errors.ArgumentError, match="gamma is a number"):
        PixelFocal(-1)
    with pytest.raises(sl.errors.ArgumentError, match=r"whole numbers 0 \.\. 2"):
        PixelCrossentropy(ignore_class=None)(y, logits)
    with pytest.raises(sl.errors.ArgumentError, match=r"whole numbers 0 \.\. 2"):
        PixelDice(ignore_class=None)(y, logits)
    with pytest.raises(sl.errors.ShapeError, match="not class numbers of these predictions"):
        PixelDice()(y[:, :2], logits)
    with pytest.raises(sl.errors.ShapeError, match="is of maps"):
        PixelDice()(torch.zeros(4), torch.zeros(4, 3))
    with pytest.raises(sl.errors.ArgumentError, match="which losses"):
        sl.losses.get("sum_of_losses")
    with pytest.raises(sl.errors.ArgumentError, match="of pairs"):
        SumOfLosses([PixelDice()])
    with pytest.raises(sl.errors.ArgumentError, match="not reduced"):
        SumOfLosses([(PixelDice(reduction=None), 1.0)])
    with pytest.raises(sl.errors.ShapeError, match=r"\(images, classes\)"):
        class_weights([1, 2], "median")
    with pytest.raises(sl.errors.ArgumentError, match="not all 0"):
        class_weights([0, 0])

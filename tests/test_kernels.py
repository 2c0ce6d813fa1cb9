"""Gradients by the kernels that are fastest here are those of float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sightline import kernels


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch):
    """As on a CPU with AVX2 only, whatever this one is; the kernels themselves run on any."""
    monkeypatch.setattr(kernels, "only_avx2", lambda: True)
    monkeypatch.setattr(kernels, "mkl_is_slow", lambda: hasattr(torch.ops.mkldnn, "_linear_pointwise"))


def gradients(function, *tensors):
    """The answer, and the gradients by each tensor, of a loss that weighs every value."""
    tensors = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in tensors]
    answer = function(*tensors)
    weights = torch.linspace(-0.5, 1, answer.numel(), dtype=answer.dtype).view(answer.shape)
    (answer * weights).sum().backward()
    return answer.detach(), *(tensor.grad for tensor in tensors)


def assert_same(mine, exact):
    for one, other in zip(mine, exact, strict=True):
        scale = max(float(other.abs().max()), 1e-6)
        np.testing.assert_allclose(one.double().numpy() / scale, other.numpy() / scale, atol=3e-5)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def compared(x, weight, bias, strides=(1, 1), around=(0, 0), dilation=(1, 1)):
    x, weight = (tensor.to(memory_format=torch.channels_last) for tensor in (x, weight))

    def mine(x, weight, *bias):
        return kernels.convolution(x, weight, bias[0] if bias else None, strides, around, dilation, 1)

    def exact(x, weight, *bias):
        return F.conv2d(x, weight, bias[0] if bias else None, strides, around, dilation)

    tensors = [x, weight] if bias is None else [x, weight, bias]
    found = gradients(mine, *tensors)
    assert_same(found, gradients(exact, *(tensor.double() for tensor in tensors)))
    return found


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(0, 2)] * 2), st.tuples(*[st.integers(1, 2)] * 2), st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_gradients_by_windows(count, channels, filters, kernel, strides, around, dilation, with_bias):
    assume(kernel != (1, 1) or max(strides) == 1)  # torch's own kernel, which `layers.convolution` keeps away from
    size = [d * (k - 1) + 1 + 5 for k, d in zip(kernel, dilation, strict=True)]
    x, weight = draw(count, channels, *size), draw(filters, channels, *kernel, seed=1)
    bias = draw(filters, seed=2) if with_bias else None
    compared(x, weight, bias, strides, around, dilation)


@given(
    st.integers(4, 9), st.integers(1, 9), st.sampled_from([(3, 3), (1, 3), (5, 2)]), st.integers(1, 2), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_gradients_in_planes(channels, filters, kernel, stride, with_bias):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "MANY_PRODUCTS", 0)
        patch.setattr(kernels, "FEW_INPUTS", 0)
        x, weight = draw(2, channels, 9, 8), draw(filters, channels, *kernel, seed=1)
        compared(x, weight, draw(filters, seed=2) if with_bias else None, (stride, stride), (1, 0))


def test_each_way_is_taken_where_it_pays(monkeypatch):
    taken = []
    really = kernels._gradients
    monkeypatch.setattr(
        kernels, "_gradients", lambda g, x, *rest: taken.append(x.is_contiguous()) or really(g, x, *rest)
    )
    monkeypatch.setattr(kernels, "gradient_by_windows", lambda *a: taken.append("windows") or torch.zeros(4, 1, 3, 3))
    kernels.convolution(
        draw(1, 1, 9, 9).to(memory_format=torch.channels_last),
        draw(4, 1, 3, 3).requires_grad_(),
        None,
        (1, 1),
        (0, 0),
        (1, 1),
        1,
    ).sum().backward()
    assert taken == ["windows"]
    taken.clear()
    x = draw(1, 64, 60, 60).to(memory_format=torch.channels_last).requires_grad_()
    kernels.convolution(x, draw(64, 64, 3, 3).requires_grad_(), None, (1, 1), (1, 1), (1, 1), 1).sum().backward()
    assert taken == [False, True]
    taken.clear()
    x = draw(1, 64, 30, 30).to(memory_format=torch.channels_last).requires_grad_()
    kernels.convolution(x, draw(64, 64, 3, 3).requires_grad_(), None, (1, 1), (1, 1), (1, 1), 1).sum().backward()
    assert taken == []  # torch's own, without a detour through Python


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("count", "features", "units"), [(1, 1024, 64), (5, 300, 300), (32, 2048, 33)])
def test_dense(count, features, units, with_bias):
    x, weight = draw(count, features), draw(units, features, seed=1)
    tensors = [x, weight, draw(units, seed=2)] if with_bias else [x, weight]
    mine = gradients(lambda x, w, *b: kernels.dense(x, w, b[0] if b else None), *tensors)
    exact = gradients(lambda x, w, *b: F.linear(x, w, b[0] if b else None), *(tensor.double() for tensor in tensors))
    assert_same(mine, exact)
    assert all(one.is_contiguous() for one in mine)


@pytest.mark.parametrize("what", ["convolution", "dense"])
def test_gradients_of_gradients(what):
    if what == "dense":
        x, weight = draw(4, 512), draw(128, 512, seed=1)
        mine, exact = (lambda x, w: kernels.dense(x, w, None)), F.linear
    else:
        x, weight = draw(2, 1, 7, 7), draw(3, 1, 3, 3, seed=1)
        mine = lambda x, w: kernels.convolution(x, w, None, (1, 1), (0, 0), (1, 1), 1)  # noqa: E731
        exact = F.conv2d

    def penalty(function, x, weight):
        x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
        (by_x,) = torch.autograd.grad(function(x, weight).square().sum(), x, create_graph=True)
        by_x.square().sum().backward()
        return x.grad, weight.grad

    assert_same(penalty(mine, x, weight), penalty(exact, x.double(), weight.double()))


def test_only_what_is_wanted_is_computed():
    x, weight = draw(2, 3, 8, 8).to(memory_format=torch.channels_last), draw(4, 3, 3, 3, seed=1)
    frozen = kernels.convolution(x.requires_grad_(), weight, None, (1, 1), (0, 0), (1, 1), 1)
    assert "Convolution" in frozen.grad_fn.name()  # torch's: there is no gradient by the weight to find
    assert "_Convolution" not in frozen.grad_fn.name()
    first = kernels.convolution(x.detach(), weight.requires_grad_(), None, (1, 1), (0, 0), (1, 1), 1)
    first.sum().backward()
    assert weight.grad is not None
    with torch.no_grad():
        assert kernels.dense(draw(2, 512), draw(256, 512).requires_grad_(), None).grad_fn is None
    with torch.autocast("cpu", torch.bfloat16):
        low = kernels.dense(draw(64, 512), draw(256, 512).requires_grad_(), None)
    assert low.dtype == torch.bfloat16


@pytest.mark.parametrize(("rows", "precision"), [((1,), torch.float32), ((32,), torch.float32), ((4, 8), torch.float32),
                                                 ((33,), torch.bfloat16), ((4, 9), torch.bfloat16)])  # fmt: skip
def test_dense_layers_of_few_rows_stay_in_float32(rows, precision):
    x, weight, bias = draw(*rows, 20).bfloat16(), draw(7, 20, seed=1), draw(7, seed=2)

    def lower(*tensors):
        with torch.autocast("cpu", torch.bfloat16):
            return kernels.dense(*tensors)

    found = gradients(lower, x, weight, bias)
    assert found[0].dtype == precision
    assert [gradient.dtype for gradient in found[1:]] == [torch.bfloat16, torch.float32, torch.float32]
    if precision == torch.float32:
        exact = gradients(F.linear, x.double(), weight.double(), bias.double())
        assert_same((found[0], *found[2:]), (exact[0], *exact[2:]))

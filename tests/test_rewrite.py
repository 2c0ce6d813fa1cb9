"""Networks made from networks: the same function on the same weights."""

import numpy as np
import pytest
import torch

import sightline as sl
from sightline import layers
from sightline.graph.build import layer_of
from sightline.rewrite import cut_points, fold_batchnorm, in_place, pool_before_activation, recompute, remove_head


def order(network):
    """The kinds of the layers, in the order in which they are called."""
    found = (layer_of(network, node) for node in network.graph.nodes)
    return [type(layer).__name__ for layer in found if layer is not None]


def small(activation="relu", pool=layers.MaxPooling2D, **pooling):
    torch.manual_seed(0)
    return sl.Sequential(
        [
            sl.Input((20, 18, 3)),
            layers.Conv2D(8, 3, activation=activation),
            pool(**pooling),
            layers.BatchNormalization(),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="second"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.3, seed=1),
            layers.Dense(4, activation="softmax"),
        ]
    )


def answer_and_gradients(network, model, x):
    model.zero_grad()
    for layer in model.modules():
        if hasattr(layer, "draws"):
            layer.draws = 0
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    y = network(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    found = (
        y.detach(),
        [parameter.grad.clone() for parameter in model.parameters()],
        model.state_dict()["layers.batch_normalization.running_mean"].clone(),
    )
    model.load_state_dict(state)
    return found


@pytest.mark.parametrize("training", [True, False])
def test_pooling_before_the_activation_is_the_same_function(training):
    model = small()
    network = pool_before_activation(model)
    assert order(network)[:4] == ["Conv2D", "MaxPooling2D", "Activation", "BatchNormalization"]
    assert order(network).count("Activation") == 2
    assert {id(p) for p in network.parameters()} == {id(p) for p in model.parameters()}
    model.train(training)
    x = torch.randn(5, 3, 20, 18).to(memory_format=torch.channels_last)
    (one, gradients, mean), (other, its, same_mean) = (answer_and_gradients(n, model, x) for n in (model, network))
    assert torch.equal(one, other)
    assert torch.equal(mean, same_mean)
    for mine, exact in zip(its, gradients, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-6)


def test_the_model_itself_stays_as_it_is():
    model = small()
    before = model.summary(as_text=True), order(model), {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    pool_before_activation(model)
    assert (model.summary(as_text=True), order(model)) == before[:2]
    assert all(torch.equal(t, before[2][name]) for name, t in model.state_dict().items())
    assert model.get_layer("conv2d").activation == "relu"
    assert torch.equal(state, torch.get_rng_state())


def several_readers():
    x = sl.Input((8, 8, 1))
    y = layers.Conv2D(2, 3, activation="relu")(x)
    return sl.Model(x, [layers.MaxPooling2D()(y), layers.Flatten()(y)])


def hooked():
    model = sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="relu"), layers.MaxPooling2D()])
    model.layers[0].register_forward_hook(lambda *a: None)
    return model


def foreign():
    return sl.Sequential(
        [
            sl.Input((8, 8, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Torch(torch.nn.Flatten()),
        ]
    )


@pytest.mark.parametrize(
    "make",
    [
        several_readers,
        hooked,
        foreign,
        lambda: sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="tanh"), layers.MaxPooling2D()]),
        lambda: sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="relu"), layers.AveragePooling2D()]),
        lambda: sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D()]),
    ],
)
def test_what_would_not_be_the_same_or_no_cheaper_is_left(make):
    model = make()
    assert pool_before_activation(model) is model


@pytest.mark.parametrize("name", ["mnist_cnn", "signs_cnn", "intel_cnn"])
def test_a_training_step_of_the_networks_of_the_notes_is_the_same(name, monkeypatch):
    shape = {"mnist_cnn": (28, 28, 1), "signs_cnn": (24, 24, 1), "intel_cnn": (24, 24, 3)}[name]
    x = np.random.default_rng(0).random((8, *shape), np.float32)
    y = np.eye(5, dtype=np.float32)[np.arange(8) % 5]
    trained = []
    for cheaper in (True, False):
        if not cheaper:
            monkeypatch.setattr("sightline.training.step.pool_before_activation", lambda network: network)
        torch.manual_seed(0)
        model = sl.create(name, shape, 5)
        model.compile("sgd", "categorical_crossentropy")
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        trained.append(model)
    for one, other in zip(*(model.get_weights() for model in trained), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


def with_norms():
    inputs = sl.Input((12, 11, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = layers.Activation("relu6")(layers.BatchNormalization(name="one")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.BatchNormalization(scale=False, name="two")(x)
    y = layers.BatchNormalization(center=False, name="three")(
        layers.SeparableConv2D(5, 3, padding="same", bias_initializer="ones")(x)
    )
    z = layers.Conv2D(5, 1, activation="relu")(x)
    x = layers.Add()([layers.BatchNormalization(name="stays_behind_an_activation")(z), y])
    w = layers.Conv2D(5, 1, padding=1)(x)
    x = layers.Concatenate()(
        [layers.Cropping2D(1)(layers.BatchNormalization(name="stays_with_two_readers")(w)), layers.Cropping2D(1)(w), x]
    )
    x = layers.BatchNormalization(name="four")(layers.Dense(6)(layers.Flatten()(x)))
    return sl.Model(inputs, layers.Dense(3, activation="softmax")(x))


def test_folded_normalizations_are_the_same_function():
    torch.manual_seed(0)
    model = with_norms()
    for name, tensor in model.state_dict().items():
        if (
            "running_var" in name
            or "batch_normalization" in name
            or name.split(".")[1] in ("one", "two", "three", "four")
        ):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = fold_batchnorm(model.eval())
    names = [layer.name for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    assert names == ["stays_behind_an_activation", "stays_with_two_readers"]
    x = torch.rand(3, 3, 12, 11, dtype=torch.float32)
    with torch.no_grad():
        expected = model(x)
        assert expected.std() > 1e-3
        assert torch.allclose(network(x), expected, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    plain = small()
    assert fold_batchnorm(plain) is plain  # its normalization reads a pooling


def residual(**relu):
    """Every kind of layer whose answer may be overwritten, and some whose answer must not be."""
    torch.manual_seed(0)
    x = image = sl.Input((12, 10, 4))
    shortcut = layers.Conv2D(6, 1, name="shortcut")(x)
    x = layers.Activation("relu6", name="after_a_convolution")(layers.Conv2D(6, 3, padding="same")(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Add(name="two")([x, shortcut])
    x = layers.ReLU(name="after_a_sum")(x)
    gate = layers.Dense(6, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    y = layers.Activation("relu", name="after_a_product")(layers.Multiply()([x, gate]))
    z = layers.Add(name="stretched")([layers.GlobalAveragePooling2D(keepdims=True)(y), layers.Conv2D(6, 3)(x)])
    z = layers.Activation("tanh", name="not_exact")(layers.BatchNormalization()(z))
    w = layers.Activation("relu", name="of_an_input")(image)
    z = layers.Concatenate()([z, layers.Cropping2D(1)(layers.Add(name="no_fresh")([w, image]))])
    z = layers.Activation("relu", name="after_joining")(z)
    return sl.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(z)))


def test_answers_written_over_an_input_are_the_same_to_the_bit():
    model = residual()
    network = in_place(model)
    overwriting = {name for name, layer in network.layers.named().items() if type(layer).__name__.startswith("Over")}
    expected = {"after_a_convolution", "two", "after_a_sum", "after_a_product", "stretched", "after_joining"}
    assert overwriting == expected
    assert network.layers.named().keys() == model.layers.named().keys()
    x = torch.randn(4, 4, 12, 10).to(memory_format=torch.channels_last)
    kept = x.clone()
    for training in (True, False):
        model.train(training)
        answers = [answer_and_gradients(n, model, x) for n in (model, network)]
        (one, gradients, mean), (other, its, same_mean) = answers
        assert torch.equal(one, other)
        assert torch.equal(mean, same_mean)
        assert torch.equal(x, kept)
        assert all(map(torch.equal, gradients, its))


def test_values_that_someone_else_reads_are_not_overwritten():
    x = sl.Input((8, 8, 3))
    first = layers.Conv2D(4, 3, name="first")(x)
    model = sl.Model(x, [first, layers.Activation("relu")(first)])
    assert in_place(model) is model  # the value is an output

    a = layers.Conv2D(4, 3)(x)
    model = sl.Model(x, layers.Concatenate()([layers.Activation("relu")(a), layers.Activation("tanh")(a)]))
    assert in_place(model) is model  # another layer reads it

    a = layers.Conv2D(4, 3)(x)
    assert in_place(twice := sl.Model(x, layers.Add()([a, a]))) is twice

    relu = layers.Activation("relu")
    one, other = relu(layers.Conv2D(4, 3)(x)), relu(x)
    model = sl.Model(x, [one, other])
    assert in_place(model) is model  # one call's input is the network's own

    model = sl.Sequential(
        [sl.Input((8, 8, 3)), layers.Conv2D(4, 3, name="seen"), layers.Activation("relu", name="act")]
    )
    seen = []
    handle = model.get_layer("seen").register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert in_place(model) is model  # a hook has it
    handle.remove()
    assert in_place(model) is not model


def test_nested_networks_are_overwritten_within():
    inner = sl.Sequential([sl.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()])
    x = sl.Input((8, 8, 3))
    model = sl.Model(x, layers.GlobalAveragePooling2D()(layers.Activation("relu")(inner(x))))
    network = in_place(model)
    changed = [type(layer).__name__ for layer in network.modules() if type(layer).__name__.startswith("Over")]
    assert changed == ["OverwritingReLU"]  # the inner one; what a network hands out may be read by others
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x), model(x))
    assert np.array_equal(model.predict(x.permute(0, 2, 3, 1).numpy()), model.eval()(x).detach().numpy())


# --- activation checkpointing ------------------------------------------------------------------------------------------


def drawing(seed):
    """A chain with what draws, counts and averages, and a skip connection within."""
    torch.manual_seed(0)
    x = image = sl.Input((16, 16, 3))
    x = layers.RandomFlip("horizontal", seed=seed, name="flip")(x)
    x = start = layers.Conv2D(6, 3, padding="same", activation="relu", name="one")(x)
    x = layers.ReLU(name="two_act")(
        layers.BatchNormalization(name="two_bn")(layers.Conv2D(6, 3, padding="same", name="two")(x))
    )
    x = layers.Add(name="total")([layers.Dropout(0.4, seed=seed, name="drop")(x), start])
    x = layers.MaxPooling2D(name="pool")(layers.BatchNormalization(trainable=False, name="frozen")(x))
    x = layers.GlobalAveragePooling2D(name="gap")(layers.SpatialDropout2D(0.3, seed=seed, name="spatial")(x))
    return sl.Model(image, layers.Dense(4, activation="softmax", name="out")(x))


PARTS = [("flip", "one"), ("two", "two_bn", "two_act", "drop", "total"), ("pool", "spatial")]


@pytest.mark.parametrize("seed", [None, 7])
def test_what_is_computed_again_gives_the_same_training(seed):
    x = np.random.default_rng(0).random((12, 16, 16, 3), dtype=np.float32)
    y = np.arange(12) % 4
    trained = []
    for segments in ((), PARTS[:1], PARTS):
        model = drawing(seed)
        network = recompute(model, segments) if segments else model
        network.compile("adam", "sparse_categorical_crossentropy", precision="float32")
        torch.manual_seed(3)
        history = network.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
        draws = [getattr(layer, name) for layer in model.layers for name in getattr(layer, "counters", ())]
        trained.append((history.history["loss"], model.state_dict(), draws, network.predict(x)))
    for losses, state, draws, answers in trained[1:]:
        assert losses == trained[0][0]
        assert draws == trained[0][2]
        assert all(torch.equal(tensor, trained[0][1][name]) for name, tensor in state.items())
        assert np.array_equal(answers, trained[0][3])
    assert trained[0][2] == [0 if seed is None else 9] * 3  # who draws by a seed has drawn once in each of nine steps


def test_inside_a_segment_nothing_is_kept():
    model = drawing(1)
    network = recompute(model, PARTS)
    assert list(network.layers.named()) == [
        "input_layer",
        "again_flip",
        "again_two",
        "frozen",
        "again_pool",
        "gap",
        "out",
    ]

    def maps_kept(each):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            each.train()(torch.randn(2, 3, 16, 16))
        return len({t.untyped_storage().data_ptr() for t in kept if t.ndim == 4 and t.shape[0] == 2})

    assert maps_kept(network) < maps_kept(model) / 2


@pytest.mark.parametrize("segment", [("two_act", "drop", "total"), ("one", "two", "two_bn")])
def test_a_segment_into_which_the_rest_looks_is_refused(segment):
    recompute(drawing(1), [("two", "two_bn")])
    with pytest.raises(sl.SightlineError, match="A segment takes one value, and gives one"):
        recompute(drawing(1), [segment])


def test_a_head_is_what_begins_behind_the_last_feature_map():
    for name, shape in (("resnet18", (None, 1, 1, 512)), ("mnist_cnn", None), ("vgg11", (None, 1, 1, 512))):
        model = sl.create(name) if shape is None else sl.create(name, (32, 32, 3), 10)
        backbone = remove_head(model)
        assert isinstance(backbone, sl.Model)
        assert len(backbone.output_shape) == 4
        assert shape is None or backbone.output_shape == shape
        assert {id(p) for p in backbone.parameters()} < {id(p) for p in model.parameters()}
    x = sl.Input((8, 8, 3))
    with pytest.raises(sl.SightlineError, match="no head to remove"):
        remove_head(sl.Model(x, layers.Conv2D(4, 3)(x)))


def test_what_is_computed_again_is_in_the_mode_of_the_first_time():
    model = drawing(7)
    x = torch.rand(4, 3, 16, 16)
    gradients = []
    for network in (model, recompute(model, PARTS)):
        for layer in model.layers:
            for name in getattr(layer, "counters", ()):
                setattr(layer, name, 0)
        network.eval()
        network.zero_grad()
        network(x, training=True).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    assert all(map(torch.equal, *gradients))


def test_backward_may_come_twice():
    model = drawing(7)
    x = torch.rand(2, 3, 16, 16)
    found = []
    for network in (model, recompute(model, PARTS)):
        network.eval()
        network.zero_grad()
        said = network(x)
        said[:, 0].sum().backward(retain_graph=True)
        said[:, 1].sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
    assert all(map(torch.equal, *found))


class Halves(layers.Layer):
    def forward(self, x):
        return x[:, :2], x[:, 2:]


def test_a_layer_of_several_outputs_is_no_place_to_cut_and_its_values_may_be_taken():
    inputs = sl.Input((8, 8, 3))
    one, other = Halves(name="halves")(layers.Conv2D(4, 3, name="first")(inputs))
    one = layers.Conv2D(2, 1, activation="relu", name="third")(layers.Conv2D(4, 1, name="second")(one))
    model = sl.Model(inputs, layers.Concatenate(name="joined")([one, other]))
    assert [node.name for node in cut_points(model)] == ["first"]
    network = recompute(model, [["second", "third"]])
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(x), model(x))


@pytest.mark.parametrize(
    ("segments", "match"),
    [
        ([[]], "lists of names"),
        (["two"], "lists of names"),
        ([["two", "two_bn"], ["two_bn", "two_act"]], "in one segment, once"),
        ([["two", "two"]], "in one segment, once"),
        ([["two_bn", "two"]], "in the order of the graph"),
        ([["tow"]], 'Did you mean "two"'),
    ],
)
def test_segments_that_are_none_are_refused(segments, match):
    with pytest.raises(sl.SightlineError, match=match):
        recompute(drawing(1), segments)


def test_a_recomputed_model_is_saved_as_it_is(tmp_path):
    network = recompute(drawing(1), PARTS)
    again = sl.load(network.save(tmp_path / "it.sightline"))
    x = np.random.default_rng(0).random((2, 16, 16, 3), dtype=np.float32)
    assert np.array_equal(again.predict(x), network.predict(x))
    assert [type(layer).__name__ for layer in again.layers].count("Recomputed") == 3


def test_a_head_stands_behind_the_last_feature_map_not_the_first():
    x = sl.Input((8, 8, 3))
    z = layers.Conv2D(6, 3)(layers.Dense(5)(layers.Conv2D(4, 3)(x)))
    model = sl.Model(x, layers.Dense(3)(layers.Dropout(0.1)(layers.GlobalAveragePooling2D(keepdims=True)(z))))
    assert remove_head(model).output_shape == (None, 4, 4, 6)


def test_a_sum_by_keyword_is_left():
    x = sl.Input((8, 8, 3))
    model = sl.Model(x, layers.Add()(inputs=[layers.Conv2D(3, 1)(x), x]))
    assert in_place(model) is model
    assert model.predict(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 8, 8, 3)


def test_a_normalization_may_be_called_in_both_modes_at_once():
    norm = layers.BatchNormalization()
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    norm(x)
    (norm(x, training=False) + norm(x, training=True)).pow(3).sum().backward()
    assert x.grad.isfinite().all()


def test_what_a_callback_changes_counts_from_the_next_epoch_on():
    model = sl.Sequential(
        [
            sl.Input((8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.Activation("relu", name="act"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    model.compile(sl.optimizers.SGD(0.0), "mse", precision="float32")
    x, y = np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32), np.zeros((4, 2), np.float32)

    class Switch(sl.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            model.get_layer("act").activation = ("relu", "tanh")[epoch]

    losses = model.fit(x, y, epochs=2, verbose=0, callbacks=[Switch()]).history["loss"]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(model.evaluate(x, y, verbose=0))

"""The listings of Keras CNN chapters run as they stand, with `import sightline as keras`.

`listings/` holds them as they were written. A listing is changed only in the import's name, and where a slip in it
would stop Keras as well; each such mend stands in `MENDS`.
"""

import re
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import sightline

LISTINGS = Path(__file__).parent / "listings"

# (the listing, what is written, what a reader would write)
MENDS = [
    ("mnist", "input_shape={28*28*1}", "input_shape=(28, 28, 1)"),
    ("mnist", "layers,.Dense", "layers.Dense"),
    ("mnist", "// (img_height", "# (img_height"),
    ("mnist", "// 10 Way", "# 10 Way"),
    ("intel_fit", "tf.keras", "keras"),
    ("intel_compile", "    model.compile", "model.compile"),
]


def run(*names, **given):
    """Run listings one after the other, as the cells of one notebook; returns their variables."""
    scope = {"keras": sightline, **given}
    for name in names:
        text = (LISTINGS / f"{name}.txt").read_text()
        for listing, written, meant in MENDS:
            if listing == name:
                assert written in text
                text = text.replace(written, meant)
        text = re.sub(r"^from keras", "from sightline", textwrap.dedent(text), flags=re.MULTILINE)
        exec(compile(text, name, "exec"), scope)
    return scope


def one_hot(n, classes):
    return np.eye(classes, dtype="float32")[np.arange(n) % classes]


def rows(model):
    """The summary's lines as (name, shape, parameters)."""
    text = model.summary(as_text=True)
    return re.findall(r"^\s*(\w+) \(\w+\)\s+(\(None.*?\))\s+([\d,]+)$", text, flags=re.MULTILINE), text


def test_intel_model_has_the_parameters_of_the_listing():
    model = run("intel_model")["model"]
    table, text = rows(model)
    assert "Total params: 6,456,326" in text
    assert "Trainable params: 6,455,302" in text
    assert "Non-trainable params: 1,024" in text
    assert table[0] == ("conv2d", "(None, 150, 150, 64)", "1,792")
    assert ("flatten", "(None, 82944)", "0") in table
    assert ("batch_normalization_3", "(None, 64)", "256") in table


def test_intel_variant_prints_the_table_of_the_notes():
    listing = (LISTINGS / "intel_model.txt").read_text()
    inner = re.compile(r"(MaxPooling2D\(.*\),\n\s*)keras\.layers\.BatchNormalization\(\),\n")
    text, count = inner.subn(r"\1", listing)
    assert count == 3
    scope = {"keras": sightline}
    exec(text, scope)
    table, text = rows(scope["model"])
    assert table == [
        ("conv2d", "(None, 150, 150, 64)", "1,792"),
        ("conv2d_1", "(None, 150, 150, 64)", "36,928"),
        ("max_pooling2d", "(None, 75, 75, 64)", "0"),
        ("conv2d_2", "(None, 75, 75, 128)", "73,856"),
        ("conv2d_3", "(None, 75, 75, 128)", "147,584"),
        ("max_pooling2d_1", "(None, 37, 37, 128)", "0"),
        ("conv2d_4", "(None, 37, 37, 256)", "295,168"),
        ("conv2d_5", "(None, 37, 37, 256)", "590,080"),
        ("max_pooling2d_2", "(None, 18, 18, 256)", "0"),
        ("flatten", "(None, 82944)", "0"),
        ("dense", "(None, 64)", "5,308,480"),
        ("batch_normalization", "(None, 64)", "256"),
        ("dropout", "(None, 64)", "0"),
        ("dense_1", "(None, 6)", "390"),
    ]
    assert "Total params: 6,454,534" in text
    assert "Trainable params: 6,454,406" in text
    assert "Non-trainable params: 128" in text
    assert 'Model: "sequential"' in text


def image_folders(root, classes, each):
    """Class folders with small JPEG files, as a person's data lie."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.jpg")
    return root


def test_intel_compiles_trains_from_folders_and_writes_a_keras_checkpoint(tmp_path, monkeypatch, capsys):
    scenes = ["buildings", "forest", "glacier", "mountain", "sea", "street"]
    folder = image_folders(tmp_path / "scenes", scenes, 2)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    model = run("intel_model", "intel_compile")["model"]
    assert "6,456,326" in capsys.readouterr().out
    generators = {}
    for name, subset in (("train_generator", "training"), ("valid_generator", "validation")):
        images = sightline.preprocessing.image.ImageDataGenerator(rescale=1 / 255, validation_split=0.5)
        generators[name] = images.flow_from_directory(folder, target_size=(150, 150), batch_size=3, subset=subset)
    assert list(generators["train_generator"].class_indices) == scenes
    scope = run("intel_fit", build_model=lambda: model, **generators)
    logged = {"loss", "accuracy", "top_k_categorical_accuracy"}
    assert set(scope["history"].history) == logged | {f"val_{name}" for name in logged} | {"learning_rate"}
    assert [path.name for path in work.iterdir()] == ["intel-classification_staticlr.h5"]
    with h5py.File("intel-classification_staticlr.h5") as file:  # true HDF5 as Keras writes it
        assert {"model_config", "training_config"} <= set(file.attrs)
        assert {"model_weights", "optimizer_weights"} <= set(file)
    saved = sightline.load("intel-classification_staticlr.h5")
    x = generators["valid_generator"][0][0]
    np.testing.assert_array_equal(saved.predict(x), model.predict(x))
    assert saved.optimizer.iterations == model.optimizer.iterations == 2


def test_mnist_listing():
    model = run("mnist")["model"]
    table, text = rows(model)
    assert [row[1:] for row in table] == [
        ("(None, 26, 26, 32)", "320"),
        ("(None, 13, 13, 32)", "0"),
        ("(None, 11, 11, 64)", "18,496"),
        ("(None, 5, 5, 64)", "0"),
        ("(None, 3, 3, 64)", "36,928"),
        ("(None, 576)", "0"),
        ("(None, 64)", "36,928"),
        ("(None, 10)", "650"),
    ]
    assert "Total params: 93,322" in text
    fits(model, (28, 28, 1), 10, compiled=False)


@pytest.mark.parametrize(
    "listings", [("signs_imports", "signs_relu_layers"), ("signs_activations",), ("signs_functional",)], ids=" ".join
)
def test_signs_listings(listings):
    model = run(*listings)["model"]
    table, text = rows(model)
    with_parameters = [row[1:] for row in table if row[2] != "0"]
    assert with_parameters == [("(None, 64, 64, 16)", "160"), ("(None, 512)", "8,389,120"), ("(None, 26)", "13,338")]
    assert "Total params: 8,402,618" in text
    fits(model, (128, 128, 1), 26, compiled=listings != ("signs_functional",))


def fits(model, shape, classes, compiled):
    """The listing stops before `fit`: data as its reader would have it, and the loss falls."""
    if not compiled:
        model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    x, y = np.random.default_rng(0).random((26, *shape), dtype="float32"), one_hot(26, classes)
    history = model.fit(x, y, epochs=3, batch_size=13, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert model.predict(x).shape == (26, classes)


def test_named_networks_are_those_of_the_listings():
    for name, listings in {
        "mnist_cnn": ["mnist"],
        "intel_cnn": ["intel_model"],
        "signs_cnn": ["signs_activations"],
    }.items():
        written = run(*listings)["model"]
        named = sightline.create(name)
        assert [w.shape for w in named.parameters()] == [w.shape for w in written.parameters()]
        named.load_state_dict(written.state_dict())
        x = np.random.default_rng(1).random((2, *named.input_shape[1:]), dtype="float32")
        np.testing.assert_array_equal(named.predict(x), written.predict(x))

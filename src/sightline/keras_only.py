"""What Keras has and Sightline has not, by name, and what to use instead. Plain data: nothing here is imported by need.

A name of Keras's that is missing is refused with its hint, wherever it is asked for: an attribute of a module, an
argument, a text such as compile("adamax").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# --- arguments, of whatever takes them in Keras ----------------------------------------------------------------

_CONSTRAINT = "A weight is not constrained; a regularizer keeps it small: kernel_regularizer=regularizers.L2(...)"
_NO_BATCH = "Give input_shape=(height, width, channels), without the batch"
_LOADER = "Give fit a torch DataLoader, which has workers of its own"
_SCALARS = "TensorBoard gets the numbers of the logs; write weights in on_epoch_end of a callback of your own"

ARGUMENTS: dict[str, str] = {
    "activity_regularizer": "Only weights have regularizers; write what an answer costs into a loss function of your own",
    "alpha": "It is called negative_slope here, as in Keras 3",
    "autocast": "model.double() or model.half() sets the precision of a whole model",
    "auto_scale_loss": "The loss is not scaled; training runs in float32",
    "batch_input_shape": _NO_BATCH,
    "batch_shape": _NO_BATCH,
    "batch_size": _NO_BATCH,
    "beta_constraint": _CONSTRAINT,
    "bias_constraint": _CONSTRAINT,
    "by_name": "Weights go to the layers of a network of the same layers",
    "callbacks": "Only fit calls callbacks; look at what evaluate and predict return",
    "custom_objects": "A file names known layers only; build a network of your own ones in code and load_weights",
    "data_format": 'Arrays are (batch, height, width, channels), Keras\'s "channels_last"; leave it out',
    "decay": "Give learning_rate a schedule: optimizers.schedules.InverseTimeDecay",
    "depthwise_constraint": _CONSTRAINT,
    "dtype": "model.double() or model.half() sets the precision of a whole model",
    "embeddings_freq": _SCALARS,
    "embeddings_metadata": _SCALARS,
    "gamma_constraint": _CONSTRAINT,
    "gradient_accumulation_steps": "Call loss.backward() several times before optimizer.step() in a loop of your own",
    "histogram_freq": _SCALARS,
    "include_optimizer": "A file always holds how the model was compiled",
    "input_axes": "Fans follow from the shape of the kernel; VarianceScaling takes any scale",
    "input_dim": "Give input_shape=(features,)",
    "input_tensor": "Call the layer on a symbolic value from Input(shape)",
    "jit_compile": "The model is a torch module: torch.compile(model)",
    "kernel_constraint": _CONSTRAINT,
    "lora_alpha": "Low-rank adapters are not there; trainable = False freezes layers",
    "lora_rank": "Low-rank adapters are not there; trainable = False freezes layers",
    "loss_scale_factor": "The loss is not scaled; training runs in float32",
    "lr": "It is called learning_rate",
    "max_queue_size": _LOADER,
    "n": "Use max_value, negative_slope and threshold",
    "optional": "Every input of a model is needed",
    "options": "The file is written whole, with every save",
    "output_axes": "Fans follow from the shape of the kernel; VarianceScaling takes any scale",
    "overwrite": "A file that is there is replaced, whole or not at all",
    "pointwise_constraint": _CONSTRAINT,
    "profile_batch": "torch.profiler profiles the steps: profiler.step() in on_train_batch_end of a callback of your own",
    "quantization_config": "torch.ao quantizes a torch module, which the model is",
    "ragged": "Images have one size each; resize them, or make batches of one",
    "renorm": "Only plain batch normalization is there; leave it out",
    "renorm_clipping": "Only plain batch normalization is there; leave it out",
    "renorm_momentum": "Only plain batch normalization is there; leave it out",
    "run_eagerly": "Every layer runs eagerly; a debugger works in all of them",
    "safe_mode": "Loading a file never runs code from it",
    "save_format": "The suffix of the path chooses the format: .sightline, .keras or .h5",
    "skip_mismatch": "Weights go to a network of the same layers; set_weights on single layers takes over a part",
    "sparse": "Inputs are dense arrays",
    "steps_per_execution": "Each step is one call; leave it out",
    "synchronized": "Statistics are of the batch on this device; torch.nn.SyncBatchNorm through layers.Torch has all devices'",
    "tensor": "Input makes a symbolic value; call the model on the tensor itself",
    "use_multiprocessing": _LOADER,
    "workers": _LOADER,
    "write_graph": "model.summary() shows the layers; TensorBoard gets the numbers of the logs",
    "write_images": _SCALARS,
    "write_steps_per_second": "fit shows the time of each epoch; write rates in on_epoch_end of a callback of your own",
    "zipped": "A .keras file is always one zip",
}

# What an argument that is not here may say all the same, because it is what Sightline does
HONOURED: dict[str, tuple[object, ...]] = {
    name: (None,) for name in ARGUMENTS if "constraint" in name or "lora" in name
} | {
    "activity_regularizer": (None,),
    "data_format": (None, "channels_last"),
    "dtype": (None, "float32"),
    "embeddings_freq": (0,),
    "embeddings_metadata": (None,),
    "gradient_accumulation_steps": (None,),
    "histogram_freq": (0,),
    "jit_compile": (False,),
    "loss_scale_factor": (None,),
    "profile_batch": (0,),
    "quantization_config": (None,),
    "ragged": (False, None),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "run_eagerly": (True,),
    "sparse": (False, None),
    "steps_per_execution": (1,),
    "synchronized": (False,),
    "by_name": (False,),
    "custom_objects": (None,),
    "include_optimizer": (True,),
    "overwrite": (True,),
    "safe_mode": (True,),
    "skip_mismatch": (False,),
    "write_graph": (False,),
    "write_images": (False,),
    "write_steps_per_second": (False,),
    "zipped": (True, None),
}


# --- attributes of modules ---------------------------------------------------------------------------------------


def _all(names: str, hint: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), hint)


_PLANES = "Conv Convolution DepthwiseConv SeparableConv SeparableConvolution"
_OTHER_RANKS = {
    f"{kind}{rank}D{end}": f"Sightline is for images: layers.{kind}2D{end}; torch's own comes in by layers.Torch(module)"
    for rank in (1, 3)
    for kind, end in [
        *((name, "") for name in f"{_PLANES} AveragePooling AvgPool Cropping GlobalAveragePooling GlobalAvgPool GlobalMaxPool"
          " GlobalMaxPooling MaxPool MaxPooling SpatialDropout UpSampling ZeroPadding".split()),
        ("Conv", "Transpose"), ("Convolution", "Transpose"),
    ]
}  # fmt: skip
_TORCH = "Wrap torch's own as a layer: layers.Torch(torch.nn.{})"
_OWN_AUGMENTATION = "Wrap torchvision's: layers.Torch(torchvision.transforms.v2...), or make the images before fit"
_SEQUENCES = "Sightline is for images; wrap torch's own as a layer: layers.Torch(module)"
_TEXT = "Sightline is for images; prepare words and tables before they come in"
_OWN_FUNCTION = "Any function of (y_true, y_pred) that returns a value for each sample serves as one"
_OWN_ACTIVATION = "Any function of a tensor serves as one: activation=torch.nn.functional..."
_FILES = "Models are kept by model.save(path) and load_model(path)"

MODULES: dict[str, dict[str, str]] = {
    "layers": _OTHER_RANKS
    | _all("Lambda", "Use Activation(function), or write a layer: a subclass of layers.Layer with forward(self, x)")
    | _all("TFSMLayer JaxLayer FlaxLayer", "Code of another framework does not run here; wrap torch's: layers.Torch(module)")
    | _all("TorchModuleWrapper", "It is called layers.Torch(module)")
    | _all("ActivityRegularization", "Only weights have regularizers: kernel_regularizer=regularizers.L2(...)")
    | _all("AdaptiveAveragePooling2D", _TORCH.format("AdaptiveAvgPool2d(size)"))
    | _all("AdaptiveMaxPooling2D", _TORCH.format("AdaptiveMaxPool2d(size)"))
    | _all("AdaptiveAveragePooling1D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling3D", _SEQUENCES)
    | _all("AlphaDropout", _TORCH.format("AlphaDropout(rate)"))
    | _all("GaussianDropout GaussianNoise", "Write a layer: a subclass of layers.Layer that looks at self.training")
    | _all("PReLU", _TORCH.format("PReLU(channels)"))
    | _all("GroupNormalization", _TORCH.format("GroupNorm(groups, channels)"))
    | _all("RMSNormalization", _TORCH.format("RMSNorm(shape)"))
    | _all("UnitNormalization SpectralNormalization", "Write a layer: a subclass of layers.Layer with forward(self, x)")
    | _all("AugMix AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MixUp RandAugment"
           " RandomColorDegeneration RandomColorJitter RandomElasticTransform RandomErasing RandomGaussianBlur RandomGrayscale"
           " RandomHue RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness RandomShear"
           " Solarization MaxNumBoundingBoxes Pipeline", _OWN_AUGMENTATION)
    | _all("AdditiveAttention Attention GroupQueryAttention MultiHeadAttention Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D"
           " GRU GRUCell LSTM LSTMCell RNN SimpleRNN SimpleRNNCell StackedRNNCells Embedding ReversibleEmbedding Masking"
           " TimeDistributed RepeatVector Wrapper EinsumDense MelSpectrogram STFTSpectrogram", _SEQUENCES)
    | _all("CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup TextVectorization", _TEXT)
    | _all("Dot dot", "Use Multiply, then sum in a layer of your own")
    | _all("InputSpec", "A layer checks its input in build(*shapes)")
    | _all("serialize deserialize", _FILES),
    "losses": _all("CTC CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge KLDivergence LogCosh"
                   " MeanAbsolutePercentageError MeanSquaredLogarithmicError Poisson SquaredHinge Tversky ctc"
                   " categorical_generalized_cross_entropy categorical_hinge circle cosine_similarity dice hinge kl_divergence"
                   " log_cosh mean_absolute_percentage_error mean_squared_logarithmic_error poisson squared_hinge tversky",
                   _OWN_FUNCTION)
    | _all("serialize deserialize", _FILES),
    "metrics": _all("CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score FBetaScore Hinge KLDivergence LogCoshError"
                    " MeanAbsolutePercentageError MeanSquaredLogarithmicError PearsonCorrelation Poisson R2Score SquaredHinge"
                    " categorical_hinge concordance_correlation hinge kl_divergence log_cosh mean_absolute_percentage_error"
                    " mean_squared_logarithmic_error pearson_correlation poisson squared_hinge", _OWN_FUNCTION)
    | _all("MeanMetricWrapper", "A function of (y_true, y_pred) given as a metric is averaged")
    | _all("Sum", "Mean times the number of samples; or a subclass of metrics.Metric")
    | _all("PrecisionAtRecall RecallAtPrecision SensitivityAtSpecificity SpecificityAtSensitivity",
           "Precision and Recall take a list of thresholds")
    | _all("binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy huber"
           " mean_absolute_error mean_squared_error sparse_categorical_crossentropy",
           "The function is in losses, under the same name; its name in quotes is a metric")
    | _all("serialize deserialize", _FILES),
    "optimizers": _all("Adadelta Adafactor Adamax Ftrl Lamb Lion Muon Nadam ScheduleFreeAdamW",
                       "Use Adam, AdamW, SGD, RMSprop or Adagrad; or torch's own in a loop of your own")
    | _all("LossScaleOptimizer", "The loss is not scaled; training runs in float32")
    | _all("MultiOptimizer OptimizerMap", "One optimizer trains all; trainable = False freezes layers")
    | _all("legacy", "The optimizers have Keras 3's arguments")
    | _all("serialize deserialize", _FILES),
    "callbacks": _all("OrbaxCheckpoint", "Use ModelCheckpoint for the model, BackupAndRestore for the whole training")
    | _all("RemoteMonitor", "Send the logs in on_epoch_end of a callback of your own; CSVLogger and TensorBoard write them")
    | _all("CallbackList ProgbarLogger", "fit takes a list of callbacks, and shows its progress itself"),
    "initializers": _all("Identity IdentityInitializer identity STFT STFTInitializer stft",
                         "A function that fills a tensor in place serves as one: torch.nn.init.eye_")
    | _all("OrthogonalInitializer", "It is called Orthogonal")
    | _all("serialize deserialize", _FILES),
    "regularizers": _all("OrthogonalRegularizer orthogonal_regularizer", "Write a subclass of regularizers.Regularizer")
    | _all("serialize deserialize", _FILES),
    "activations": _all("celu glu hard_shrink hard_tanh log_sigmoid soft_shrink sparse_plus sparse_sigmoid sparsemax squareplus"
                        " tanh_shrink threshold", _OWN_ACTIVATION)
    | _all("serialize deserialize", _FILES),
    "models": _all("clone_model", "copy.deepcopy(model) is a model with weights of its own")
    | _all("model_from_json model_from_config model_from_yaml", _FILES),
    "utils": _all("Sequence PyDataset", "Give fit any object with a length that gives batches by number, or a torch DataLoader")
    | _all("audio_dataset_from_directory text_dataset_from_directory timeseries_dataset_from_array pad_sequences FeatureSpace", _TEXT)
    | _all("image_dataset_from_directory", "Use preprocessing.image.ImageDataGenerator().flow_from_directory(folder), or sl.train(folder)")
    | _all("plot_model model_to_dot", "model.summary() shows the layers")
    | _all("Progbar disable_interactive_logging enable_interactive_logging is_interactive_logging_enabled", "fit takes verbose=0, 1 or 2")
    | _all("CustomObjectScope custom_object_scope get_custom_objects get_registered_name get_registered_object"
           " register_keras_serializable serialize_keras_object deserialize_keras_object", _FILES)
    | _all("load_img img_to_array array_to_img", "It is in preprocessing.image, under the same name")
    | _all("get_file", "Nothing is fetched from the network; give the path of a file")
    | _all("normalize split_dataset pack_x_y_sample_weight unpack_x_y_sample_weight", "NumPy does this with arrays")
    | _all("clear_session", "There is no global state to clear")
    | _all("legacy Config bounding_boxes get_source_inputs is_keras_tensor standardize_dtype save_img",
           "This is Keras's own; torch, NumPy and Pillow have the like"),
    "preprocessing": _all("image_dataset_from_directory", "Use image.ImageDataGenerator().flow_from_directory(folder)")
    | _all("text_dataset_from_directory timeseries_dataset_from_array sequence text", _TEXT),
    "": _all("applications", "sl.create(name) makes a known architecture, sl.list_models() names them; sl.load reads Keras's files")
    | _all("datasets", "Nothing is fetched from the network; give arrays, or a folder to sl.train")
    | _all("backend random tree", "Use torch's functions")
    | _all("constraints", _CONSTRAINT)
    | _all("saving export", _FILES)
    | _all("mixed_precision DTypePolicy FloatDTypePolicy dtype_policies", "model.double() or model.half() sets the precision")
    | _all("Variable KerasTensor Operation Function InputSpec StatelessScope SymbolicScope RematScope remat name_scope device"
           " config Quantizer quantizers distillation distribution legacy visualization wrappers src",
           "A model is a torch module: torch has the like"),
}  # fmt: skip


def hint_for(module: str, name: str) -> str | None:
    """What to use instead of Keras's `module.name`, in any case of letters; None where Keras has no such name."""

    def plain(text: str) -> str:
        return text.replace("_", "").lower()

    return next((hint for known, hint in MODULES.get(module, {}).items() if plain(known) == plain(name)), None)


def missing(module: str, name: str, known: Iterable[str]) -> Exception:
    """The error for an attribute that `sightline.module` has not: an AttributeError, or for Keras's names a sentence."""
    from .errors import SightlineError, did_you_mean

    where = f"sightline.{module}" if module else "sightline"
    hint = MODULES.get(module, {}).get(name)
    if hint is not None:
        return SightlineError(f"{where} has not Keras's {name}", fix=hint)
    return AttributeError(f"{where} has no {name!r}. {did_you_mean(name, known)}")


def own(names: Mapping[str, object]) -> list[str]:
    """Of a module's globals, what itself or its parts define and mean for people."""
    here = str(names["__name__"])
    ours = {n for n, thing in names.items() if (getattr(thing, "__module__", None) or "").startswith(here)}
    return sorted(name for name in ours if not name.startswith("_"))

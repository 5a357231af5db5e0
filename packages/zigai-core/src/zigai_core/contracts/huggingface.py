"""The contract of `zigai.huggingface`: how Hugging Face names the parts of a family's models.

An entry is a `HuggingFaceNames`; its name is the `model_type` of config.json. A format reader of folders of
Hugging Face translates with it, so that it knows no family itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names of plugins are read where numpy is not needed
    import numpy as np

    from zigai_core.contracts.descriptor import Pairing


@dataclass(frozen=True)
class TensorPart:
    """A tensor of GGUF that is made of one of a folder: a part of it, or its elements in another order.

    `change` is given the tensor as an array of its shape and returns the part. It has to work with elements
    of any type, as slices, `reshape`, `transpose` and `concatenate` do, since stored ones are passed as they
    are; with `computes` they are float32, and so is the part: `lambda a: -np.exp(a)`. With `each`, `change`
    is given one entry along the first axis at a time, such as an expert's matrix. With `stored`, the part is
    taken of a tensor of that type alone, and of such a tensor no part without it is: experts of gpt-oss lie
    in rows of outputs as MXFP4, and in rows of inputs as BF16. With `sizes`, `change` is given the values of
    these configuration keys after the array, which the shape alone does not tell: how many heads it has.

    >>> import numpy as np
    >>> up = TensorPart("blk.{}.ffn_up_exps.weight", lambda expert: expert[:, 1::2].T, each=True)
    >>> up.change(np.arange(8).reshape(2, 4))
    array([[1, 5],
           [3, 7]])
    """

    name: str
    """GGUF's name, with `{}` for the number of the layer."""
    change: Callable[..., np.ndarray[Any, Any]]
    computes: bool = False
    each: bool = False
    stored: str | None = None
    """The name of a storage type (`DTYPES`), in which a folder has another form of the tensor."""
    sizes: tuple[str, ...] = ()
    """Configuration keys, whose values must be whole numbers of at least 1."""


@dataclass(frozen=True)
class HuggingFaceNames:
    """Names of tensors and configuration keys of one `model_type`, as data.

    In names of tensors `{}` stands for the number of a layer, and `[]`, as the last number of a name, for
    that of an expert, or of another part of a stack: the tensors of a layer's experts are joined.

    >>> import math
    >>> names = HuggingFaceNames(
    ...     architecture="tiny",
    ...     tensors={"model.norm.weight": "output_norm.weight"},
    ...     keys={"num_hidden_layers": "block_count"},
    ...     added={"*_norm.weight": 1.0},
    ...     computed={"query_pre_attn_scalar": lambda value: {"attention.scale": 1 / math.sqrt(value)}},
    ... )
    >>> names.computed["query_pre_attn_scalar"](64)
    {'attention.scale': 0.125}
    """

    architecture: str
    """Name under which the `Architecture` is registered: GGUF's `general.architecture`."""
    tensors: Mapping[str, str]
    """GGUF's name of each tensor: `model.layers.{}.mlp.up_proj.weight` is `blk.{}.ffn_up.weight`."""
    keys: Mapping[str, str]
    """The hyperparameter of each configuration key: `hidden_size` is `embedding_length`."""
    required: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values that a configuration key may have, the first if it is missing; all others are not supported."""
    keys_without_effect: Mapping[str, str] = field(default_factory=dict)
    """Configuration keys that do not change results: the reason by key."""
    tensors_without_effect: Mapping[str, str] = field(default_factory=dict)
    """Patterns (`fnmatch`) of tensors that do not change results: the reason by pattern."""
    unsupported_tensors: Mapping[str, str] = field(default_factory=dict)
    """Patterns (`fnmatch`) of tensors of parts that are not supported, such as those for images: the reason
    by pattern. A warning names what is left out. A tensor that `tensors` or `parts` name is not."""
    parts: Mapping[str, Sequence[TensorPart]] = field(default_factory=dict)
    """Tensors that are stored in another form than GGUF's, or hold several of its tensors: the parts of each,
    by a name as in `tensors`, which does not have it."""
    added: Mapping[str, float] = field(default_factory=dict)
    """What is added to each element of a tensor, by pattern (`fnmatch`) of its GGUF name: 1.0 for
    `*_norm.weight` where checkpoints store norms minus one. The sums are float32."""
    computed: Mapping[str | tuple[str, ...], Callable[..., Mapping[str, Any]]] = field(default_factory=dict)
    """Hyperparameters by their names, computed from the value of a configuration key, which may be None. They
    replace those of `keys`. With a tuple of keys the function is given the value of each in this order, None
    for a key that the file lacks, and is called if the file has one of them:
    `("partial_rotary_factor", "head_dim")`, of which the first may also be among the settings of RoPE.
    A function raises `ValueError` for a value that is not valid, and `UnsupportedError` for one that is not
    supported; both texts follow the file and the keys."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of configuration keys that the file lacks, where the hyperparameter's own default is another."""
    rope_pairing: Pairing = "half"
    """Which elements of a head form a pair for RoPE in folders: see `Conventions`."""
    section: str | None = None
    """The key of an object that holds the settings of the text model. Those beside it hold, too."""
    flat: bool = False
    """The section may be missing: all settings then stand where it would be, as in folders of Qwen2-VL."""
    classes: Mapping[str, HuggingFaceNames] = field(default_factory=dict)
    """Names that hold instead of these, with their own variants, for a class that config.json names first in
    `architectures`, such as the model with a head that scores pairs of texts."""
    variants: Mapping[str | tuple[str, Any], HuggingFaceNames] = field(default_factory=dict)
    """Names that hold instead of these, with their own defaults and section, if a configuration key is true,
    or if a key has a value: `("num_local_experts", 0)`. Two that hold are not supported."""

"""The keys that GGUF files of language models have, and those that an unknown key may be meant for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zigai_core.contracts.errors import FormatError, quote
from zigai_core.contracts.hyperparameter_keys import NEUTRAL
from zigai_gguf.metadata import Metadata

_PLAIN = """
general.alignment general.architecture general.author general.basename general.description general.doi
general.file_type general.finetune general.languages general.license general.license.link
general.license.name general.name general.organization general.quantization_version general.quantized_by
general.repo_url general.size_label general.source.doi general.source.repo_url general.source.url
general.source.uuid general.tags general.type general.url general.uuid general.version
general.base_model.count general.dataset.count general.sampling.min_p general.sampling.mirostat
general.sampling.mirostat_eta general.sampling.mirostat_tau general.sampling.penalty_last_n
general.sampling.penalty_repeat general.sampling.sequence general.sampling.temp general.sampling.top_k
general.sampling.top_p general.sampling.xtc_probability general.sampling.xtc_threshold split.count
split.no split.tensors.count tokenizer.chat_template tokenizer.chat_templates tokenizer.huggingface.json
"""
_TOKENIZER = """
add_bos_token add_eos_token add_sep_token add_space_prefix bos_token_id cls_token_id eom_token_id
eos_token_id eot_token_id fim_mid_token_id fim_pad_token_id fim_pre_token_id fim_rep_token_id
fim_sep_token_id fim_suf_token_id mask_token_id merges model normalizer.lowercase
normalizer.strip_accents padding_token_id pre precompiled_charsmap remove_extra_whitespaces scores
seperator_token_id token_type token_type_count tokens unknown_token_id
"""
_ARCHITECTURE = """
altup.active_idx attention.causal attention.clamp_kqv attention.head_count attention.head_count_kv
attention.k_eq_v attention.key_length attention.key_length_mla attention.key_length_swa attention.kv_lora_rank
attention.layer_norm_epsilon attention.layer_norm_rms_epsilon attention.max_alibi_bias
attention.q_lora_rank attention.recurrent_layers attention.scale attention.sliding_window
attention.sliding_window_pattern attention.value_length attention.value_length_mla
attention.value_length_swa attn_logit_softcapping block_count classifier.output_labels
classifier.pooling_type context_length dense_2_feat_in dense_2_feat_out dense_3_feat_in dense_3_feat_out
embedding_length embedding_scale expert_count expert_feed_forward_length expert_gating_func
expert_group_count expert_group_used_count expert_shared_count expert_shared_feed_forward_length
expert_used_count expert_weights_norm expert_weights_scale feed_forward_length final_logit_softcapping
hidden_activation leading_dense_block_count logit_scale pooling_type residual_scale rope.dimension_count
rope.dimension_count_swa rope.dimension_sections rope.freq_base rope.freq_base_swa
rope.scaling.attn_factor rope.scaling.factor rope.scaling.finetuned rope.scaling.original_context_length
rope.scaling.type rope.scaling.yarn_attn_factor rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow
rope.scaling.yarn_ext_factor rope.scaling.yarn_log_multiplier rope.scaling.yarn_truncate
shortconv.l_cache ssm.conv_kernel ssm.dt_b_c_rms_epsilon ssm.group_count ssm.inner_size ssm.state_size
ssm.time_step_rank swiglu_clamp_exp tensor_data_layout use_parallel_residual vocab_size
"""
KNOWN: tuple[str, ...] = (
    *_PLAIN.split(),
    *(f"tokenizer.ggml.{key}" for key in _TOKENIZER.split()),
    *(f"{{arch}}.{key}" for key in dict.fromkeys([*_ARCHITECTURE.split(), *NEUTRAL])),
)
"""Keys of language models, `{arch}` for the architecture: those of gguf's constants, 0.19 (`Keys`), and all
that core and the families read."""

CUTOFF = 0.85
"""How alike an unknown key must be to another to be taken for a mistake."""

_OF_ARCHITECTURE = "{arch}."
_PREFIXES = ("general.", "tokenizer.ggml.", "tokenizer.")
_NUMBERED = re.compile(r"general\.(base_model|dataset)\.\d+\.\w+|tokenizer\.chat_template\.\w+")
_LONGEST = 200
"""Characters of a key that another may be meant for: comparing takes the product of both lengths."""


def known(architectures: Iterable[str]) -> list[str]:
    """Returns `KNOWN` for these architectures."""
    plain = [key for key in KNOWN if not key.startswith(_OF_ARCHITECTURE)]
    return plain + [
        key.replace(_OF_ARCHITECTURE, f"{name}.", 1)
        for name in architectures
        for key in KNOWN
        if key.startswith(_OF_ARCHITECTURE)
    ]


def meant_by(
    key: str, among: Iterable[str], architectures: Iterable[str] = (), *, cutoff: float = CUTOFF
) -> list[str]:
    """Returns up to three keys of `among` that `key` may be meant for, the most alike first.

    None if `key` is one of them, or numbered, as `general.base_model.0.name`. A key without its prefix
    (`ARCH.`, `general.`, `tokenizer.ggml.`), or with that of another architecture, is meant for the one with
    it. `cutoff`: how alike two keys must be, by the ratio of `difflib`. Upper and lower case are alike.

    >>> meant_by("block_count", ["llama.block_count"], ["llama"])
    ['llama.block_count']
    >>> meant_by("general.nmae", known([]))
    ['general.name']
    >>> meant_by("mine.level", known(["llama"]), ["llama"])
    []
    """
    whole = dict.fromkeys(each for each in among if len(each) <= _LONGEST or each == key)
    if key in whole or _NUMBERED.fullmatch(key) or len(key) > _LONGEST:
        return []
    own = tuple(f"{name}." for name in architectures)
    short: dict[str, str] = {}
    for full in whole:
        for prefix in (*own, *_PREFIXES):
            if full.startswith(prefix):
                short.setdefault(full.removeprefix(prefix), full)
    if key in short:
        return [short[key]]
    other = short.get(key.partition(".")[2])
    if other is not None and own and other.startswith(own):
        return [other]
    folded: dict[str, str] = {}
    for full in whole:
        folded.setdefault(full.casefold(), full)
    for name, full in short.items():
        folded.setdefault(name.casefold(), full)
    found = difflib.get_close_matches(key.casefold(), folded, n=6, cutoff=cutoff)
    return list(dict.fromkeys(folded[each] for each in found))[:3]


def did_you_mean(keys: Iterable[str]) -> str:
    """Returns `; did you mean 'a' or 'b'?`, or an empty text for no keys."""
    listed = " or ".join(map(quote, keys))
    return f"; did you mean {listed}?" if listed else ""


def check_present(path: Path, keys: Iterable[str], metadata: Metadata) -> None:
    """Raises `FormatError` for a key that the file at `path` lacks; names those that may be meant."""
    for key in keys:
        if key not in metadata:
            near = meant_by(key, metadata, architectures_of(metadata), cutoff=0.6)
            raise FormatError(f"{path}: has no metadata {quote(key)}{did_you_mean(near)}")


def architectures_of(metadata: Mapping[str, Any]) -> list[str]:
    """The architecture that `general.architecture` names, if it does."""
    name = metadata.get("general.architecture")
    return [name] if isinstance(name, str) and name else []

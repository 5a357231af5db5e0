"""The form of a pair of texts in the post_processor of tokenizer.json, as fields of a `TokenizerSpec`.

Source: the tokenizers library (`BertProcessing`, `RobertaProcessing`, `TemplateProcessing`). A form that no
reranker has is passed over: it says nothing of single texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zigai_safetensors.pipeline import special_part, steps

_A, _B = object(), object()


def pair_form(
    given: Any, ids: Mapping[str, int], bos: int | None, eos: int | None, inputs: Any
) -> dict[str, Any]:
    """Returns the fields `separators` and `second_type` of a `TokenizerSpec`; none without a form.

    `given` is the post_processor, whose tokens around single texts are `bos` and `eos`. `inputs` are the
    `model_input_names` of tokenizer_config.json, without whose `token_type_ids` a model is given no types.
    """
    separators: tuple[int, ...] = ()
    second_type = 0
    for step in steps(given, "processors"):
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "BertProcessing" and eos is not None:
            separators, second_type = (eos,), 1
        elif kind == "RobertaProcessing" and eos is not None:
            separators, second_type = (eos, eos), 0
        elif kind == "TemplateProcessing":
            separators, second_type = _of_template(step.get("pair"), ids, bos, eos)
    if not separators:
        return {}
    typed = not isinstance(inputs, list) or "token_type_ids" in inputs
    return {"separators": separators, "second_type": second_type if typed else 0}


def _of_template(
    pair: Any, ids: Mapping[str, int], bos: int | None, eos: int | None
) -> tuple[tuple[int, ...], int]:
    """The tokens between the texts of a template, and the type of the second one; no tokens for another form.

    The form is: BOS, the first text, tokens, the second text, EOS.
    """
    parts = [_part(each, ids) for each in pair] if isinstance(pair, list) else []
    outer = ([bos] if bos is not None else []), ([eos] if eos is not None else [])
    if parts.count((_A, 0)) != 1 or sum(part[0] is _B for part in parts) != 1:
        return (), 0
    first = parts.index((_A, 0))
    second = next(place for place, part in enumerate(parts) if part[0] is _B)
    kind = parts[second][1]
    between = [token for token, _ in parts[first + 1 : second]]
    sound = (
        first < second
        and parts[:first] == [(token, 0) for token in outer[0]]
        and parts[second + 1 :] == [(token, kind) for token in outer[1]]
        and all(part == (part[0], 0) and isinstance(part[0], int) for part in parts[first + 1 : second])
        and type(kind) is int
        and 0 <= kind <= 1
    )
    return (tuple(between), kind) if sound else ((), 0)


def _part(part: Any, ids: Mapping[str, int]) -> tuple[Any, Any]:
    """A text (`_A`, `_B`) or the id of a token, and its type; None for anything else."""
    name = special_part(part)
    if name is not None:
        return ids.get(name), part["SpecialToken"].get("type_id", 0)
    found = part.get("Sequence") if isinstance(part, dict) else None
    if not isinstance(found, dict) or found.get("id") not in ("A", "B"):
        return None, None
    return (_A if found["id"] == "A" else _B), found.get("type_id", 0)

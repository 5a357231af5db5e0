"""Compute the logits of every case with the float32 oracle, Hugging Face transformers, and record them.

nox -s oracle            compares the recorded logits with the oracle's, and ZigAI's with both
nox -s oracle -- --write records them again
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from zigai_core.contracts.descriptor import ModelDescriptor
from zigai_core.ops.blocks import DecoderShape

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from cases import CASES, GOLDENS, TOKENS, fingerprint  # noqa: E402
from toy_model import write_toy  # noqa: E402

NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
}


def from_file(path: Path, tokens: Sequence[int]) -> np.ndarray:
    """Logits of a file that transformers reads itself: float32 `[tokens, vocabulary]`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    return run(model, tokens)


def from_weights(model: ModelDescriptor, config: Mapping[str, Any], tokens: Sequence[int]) -> np.ndarray:
    """Logits of a transformers model made from `config`, with the descriptor's weights."""
    config = dict(config)
    name = config.pop("class", "Llama")
    hp = model.hyperparameters
    shape = DecoderShape.of(hp)
    made = getattr(transformers, f"{name}Config")(
        vocab_size=hp["vocab_size"],
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=hp["context_length"],
        rms_norm_eps=shape.epsilon,
        tie_word_embeddings="output.weight" not in model.tensors,
        attn_implementation="eager",
        **{"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, **config},
    )
    network = getattr(transformers, f"{name}ForCausalLM")(made).to(torch.float32)
    weights = {}
    for key, tensor in model.tensors.items():
        values = tensor.to_float32()
        heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(key.split(".")[-2])
        # In LLaMA's files RoPE pairs are adjacent, in transformers half a head apart: undo the permutation.
        if heads and model.architecture == "llama":
            rest = values.shape[1:]
            values = values.reshape(heads, -1, 2, *rest).swapaxes(1, 2).reshape(-1, *rest)
        if key != "rope_freqs.weight":
            weights[translated(key)] = torch.from_numpy(np.ascontiguousarray(values))
    for layer in range(shape.layers):  # transformers joins gate and up, and has no modules for experts
        at = f"model.layers.{layer}.mlp"
        if f"{at}.experts.gate_proj.weight" in weights:
            halves = [weights.pop(f"{at}.experts.{part}_proj.weight") for part in ("gate", "up")]
            weights[f"{at}.experts.gate_up_proj"] = torch.cat(halves, dim=1)
            weights[f"{at}.experts.down_proj"] = weights.pop(f"{at}.experts.down_proj.weight")
        if f"{at}.shared_expert_gate.weight" in weights:
            weights[f"{at}.shared_expert_gate.weight"] = weights[f"{at}.shared_expert_gate.weight"][None]
    weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
    lost, unknown = network.load_state_dict(weights, strict=False)
    # transformers has a bias for o_proj if the others have one; the toys do not
    assert not unknown and all(key.endswith("o_proj.bias") for key in lost), (lost, unknown)
    for key in lost:
        network.get_parameter(key).data.zero_()
    return run(network, tokens)


def translated(key: str) -> str:
    if key.startswith("blk."):
        _, layer, part, kind = key.split(".")
        return f"model.layers.{layer}.{NAMES[part]}.{kind}"
    outer = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    return f"{outer[key.split('.')[0]]}.weight"


def run(network: Any, tokens: Sequence[int]) -> np.ndarray:
    with torch.no_grad():
        return network.eval()(torch.tensor([list(tokens)])).logits[0].float().numpy()


def answer(name: str) -> tuple[ModelDescriptor, np.ndarray]:
    """The model of a case, and the oracle's logits for it."""
    case = CASES[name]
    model = case.make()
    if case.config:
        return model, from_weights(model, case.config, TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write_toy(path, model)
        return model, from_file(path, TOKENS)


def stories() -> list[list[int]] | None:
    """The oracle's greedy tokens for the trained model in ../shared; None if that is absent."""
    folder = HERE.parents[1].parent / "shared" / "models"
    if not (folder / "stories260K.gguf").exists():
        return None
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), gguf_file="stories260K.gguf", dtype=torch.float32, attn_implementation="eager"
    )
    cases = json.loads((folder / "stories260K.golden.json").read_text("utf-8"))["cases"]
    return [greedy(model.eval(), case["tokens"], len(case["greedy"])) for case in cases]


def greedy(model: Any, tokens: list[int], count: int) -> list[int]:
    sequence = list(tokens)
    for _ in range(count):
        sequence.append(int(run(model, sequence)[-1].argmax()))
    return sequence[len(tokens) :]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="record the answers")
    parser.add_argument("cases", nargs="*", help="cases to compute (all)")
    options = parser.parse_args()
    write = options.write
    worst = 0.0
    for name in options.cases or CASES:
        model, logits = answer(name)
        path = GOLDENS / f"{name}.npz"
        if write:
            np.savez_compressed(path, logits=logits, tokens=np.array(TOKENS), fingerprint=fingerprint(model))
        kept = np.load(path)
        if str(kept["fingerprint"]) != fingerprint(model):
            raise SystemExit(f"{name}: the case has changed since its golden was recorded: run with --write")
        difference = float(np.abs(kept["logits"] - logits).max())
        worst = max(worst, difference)
        print(f"{name:20} largest difference of the oracle from the golden: {difference:.1e}")
    tokens, path = None if options.cases else stories(), GOLDENS / "stories260K.json"
    if tokens is not None:
        if write:
            path.write_text(json.dumps(tokens) + "\n")
        if json.loads(path.read_text()) != tokens:
            worst = 1.0
        print(
            "stories260K          oracle's greedy tokens "
            + ("differ from" if worst == 1.0 else "equal")
            + " the golden's"
        )
    return 0 if worst <= 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())

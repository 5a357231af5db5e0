"""The decoder that is trained, for Llama and Qwen2, in plain torch, optimised for two CPU cores.

The classes of transformers compute the same (`to_transformers`) but take twice as long to train. Here the
query heads of a KV head are rows of one matrix product, matrices with the same input are joined, and after
the last attention only the rows with targets are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """The sizes of a network, and the options in which the two families differ."""

    family: str
    vocabulary: int = 2048
    width: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 2
    feed_forward: int = 768
    context: int = 512
    rope_base: float = 10_000.0
    epsilon: float = 1e-5
    attention_bias: bool = False
    tied: bool = False

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def qkv(self) -> tuple[int, int, int]:
        """Rows of the joined query, key and value matrix."""
        return self.width, self.kv_heads * self.head_width, self.kv_heads * self.head_width


SHAPES = {
    "llama": Shape("llama", kv_heads=4),
    "qwen2": Shape("qwen2", kv_heads=2, epsilon=1e-6, attention_bias=True, tied=True),
}


class Layer(nn.Module):
    """One decoder layer: attention and a gated feed-forward network, each after an RMSNorm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        narrow = 0.03 / (2 * shape.layers) ** 0.5
        self.attn_norm = nn.Parameter(torch.ones(shape.width))
        self.ffn_norm = nn.Parameter(torch.ones(shape.width))
        self.qkv = nn.Parameter(torch.randn(sum(shape.qkv), shape.width) * 0.03)
        self.qkv_bias = nn.Parameter(torch.zeros(sum(shape.qkv))) if shape.attention_bias else None
        self.output = nn.Parameter(torch.randn(shape.width, shape.width) * narrow)
        self.gate_up = nn.Parameter(torch.randn(2 * shape.feed_forward, shape.width) * 0.03)
        self.down = nn.Parameter(torch.randn(shape.width, shape.feed_forward) * narrow)

    def forward(
        self, x: Tensor, cosine: Tensor, sine: Tensor, mask: Tensor, chosen: Tensor | None = None
    ) -> Tensor:
        """Compute the layer: x and result `[batch, tokens, width]`; cosine and sine `[tokens, head_width]`.

        With `chosen`, indices into `[batch · tokens]`, only those rows are returned: `[chosen, width]`.
        """
        shape, (batch, tokens, _) = self.shape, x.shape
        queries, pairs = shape.heads, shape.heads + shape.kv_heads
        normed = F.rms_norm(x, (shape.width,), self.attn_norm, shape.epsilon)
        joined = F.linear(normed, self.qkv, self.qkv_bias)
        heads = joined.view(batch, tokens, -1, shape.head_width).transpose(1, 2)
        turned = rotate(heads[:, :pairs], cosine, sine)
        group = queries // shape.kv_heads
        q = turned[:, :queries].reshape(batch * shape.kv_heads, group * tokens, shape.head_width)
        k = turned[:, queries:].reshape(batch * shape.kv_heads, tokens, shape.head_width)
        v = heads[:, pairs:].reshape(batch * shape.kv_heads, tokens, shape.head_width)
        scores = torch.bmm(q * shape.head_width**-0.5, k.transpose(1, 2))
        scores = scores.view(-1, group, tokens, tokens) + mask
        mixed = torch.bmm(torch.softmax(scores, -1).view(-1, group * tokens, tokens), v)
        mixed = mixed.view(batch, queries, tokens, shape.head_width).transpose(1, 2)
        mixed = mixed.reshape(batch, tokens, shape.width)
        if chosen is not None:
            x, mixed = (values.reshape(-1, shape.width)[chosen] for values in (x, mixed))
        x = x + F.linear(mixed, self.output)
        normed = F.rms_norm(x, (shape.width,), self.ffn_norm, shape.epsilon)
        gate, up = F.linear(normed, self.gate_up).chunk(2, -1)
        return x + F.linear(F.silu(gate) * up, self.down)


class Decoder(nn.Module):
    """Computes logits from token ids."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.05)
        self.head = None if shape.tied else nn.Parameter(torch.randn(shape.vocabulary, shape.width) * 0.03)
        self.norm = nn.Parameter(torch.ones(shape.width))
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        powers = torch.arange(0, shape.head_width, 2).float() / shape.head_width
        angles = torch.outer(torch.arange(shape.context).float(), shape.rope_base**-powers)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, ids: Tensor, chosen: Tensor) -> Tensor:
        """Logits `[chosen, vocabulary]` for ids `[batch, tokens]`; `chosen` indexes `[batch · tokens]`."""
        tokens = ids.shape[1]
        x = F.embedding(ids, self.embedding)
        mask = torch.full((tokens, tokens), -1e4, device=ids.device).triu(1)
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            rows = chosen if i == last else None  # after the last attention only these rows are needed
            x = layer(x, self.cosine[:tokens], self.sine[:tokens], mask, rows)
        x = F.rms_norm(x, (self.shape.width,), self.norm, self.shape.epsilon)
        return F.linear(x, self.embedding if self.head is None else self.head)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """RoPE with pairs half a head apart, the layout of transformers."""
    a, b = x.chunk(2, -1)
    return x * cosine + torch.cat((-b, a), -1) * sine


def to_transformers(decoder: Decoder) -> Any:
    """The same weights as a `LlamaForCausalLM` or a `Qwen2ForCausalLM` in float32."""
    import transformers

    shape = decoder.shape
    config, model = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }[shape.family]
    theirs = model(
        config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.context,
            rms_norm_eps=shape.epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rope_base},
            tie_word_embeddings=shape.tied,
        )
    )
    weights = {
        "model.embed_tokens.weight": decoder.embedding,
        "lm_head.weight": decoder.embedding if decoder.head is None else decoder.head,
        "model.norm.weight": decoder.norm,
    }
    for i, layer in enumerate(decoder.layers):
        at = f"model.layers.{i}."
        weights[at + "input_layernorm.weight"] = layer.attn_norm
        weights[at + "post_attention_layernorm.weight"] = layer.ffn_norm
        for name, rows in zip("qkv", layer.qkv.split(shape.qkv), strict=True):
            weights[f"{at}self_attn.{name}_proj.weight"] = rows
        if layer.qkv_bias is not None:
            for name, rows in zip("qkv", layer.qkv_bias.split(shape.qkv), strict=True):
                weights[f"{at}self_attn.{name}_proj.bias"] = rows
        weights[at + "self_attn.o_proj.weight"] = layer.output
        weights[at + "mlp.gate_proj.weight"], weights[at + "mlp.up_proj.weight"] = layer.gate_up.chunk(2)
        weights[at + "mlp.down_proj.weight"] = layer.down
    theirs.load_state_dict({name: weight.detach().clone() for name, weight in weights.items()}, strict=True)
    return theirs.float().eval()

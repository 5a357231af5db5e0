"""Operations with a recurrent state: a short convolution, the gated delta rule and the selective scan.

Each goes through the rows of a sequence one by one in ascending index, so that the result does not depend on
where steps begin and end. All state arrays are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np

from zigai_core.contracts.graph import TOKENS, Array, Operation, Step, Value, Weight
from zigai_core.contracts.state import Recurrent, State

LARGEST = float(np.finfo(np.float32).max)

HeadOrder = Literal["grouped", "tiled"]
"""Which key head a value head reads: see `GatedDelta`."""


@dataclass(frozen=True, eq=False)
class ShortConv(Operation):
    """A causal convolution of each channel on its own: `[tokens, channels]` to the same.

    `y[t, c] = bias[c] + Σ_k weight[c, k] · x[t - taps + 1 + k, c]`, with zeros before the sequence; `weight`
    is `[channels, taps]` with 2 taps or more, `bias` `[channels]` or None. An activation, as in Mamba
    (arXiv:2312.00752, section 3.4), is an operation of its own. `state` holds `x` `[taps - 1, channels]`, the
    sequence's last inputs, the latest one last.
    """

    x: Value
    weight: Weight
    state: State
    bias: Weight | None = None

    def fault(self) -> str | None:
        """Returns why the attributes do not fit the values; None if they do."""
        channels = self.output.width
        if (wrong := _wrong_values(self, x=channels, output=channels)) is not None:
            return wrong
        shape = self.weight.shape
        if len(shape) != 2 or shape[0] != channels or shape[1] < 2:
            return (
                f"its weight {self.weight.name} has shape {shape}, not {channels} channels of 2 taps or more"
            )
        if self.bias is not None and self.bias.shape != (channels,):
            return f"its bias {self.bias.name} has shape {self.bias.shape}, not {(channels,)}"
        return _wrong_state(self.state, "x", (shape[1] - 1, channels))

    def evaluate(self, step: Step) -> Array:
        x, weight = step[self.x], step.weight(self.weight).T
        bias = np.float32(0) if self.bias is None else step.weight(self.bias)
        out = np.empty_like(x)

        def advance(row: int, state: Mapping[str, Array]) -> Mapping[str, Array]:
            seen = np.concatenate([state["x"], x[row : row + 1]])
            out[row] = (weight * seen).sum(axis=0) + bias
            return {"x": seen[1:]}

        _go_through(step, self.state, advance)
        return out


@dataclass(frozen=True, eq=False)
class GatedDelta(Operation):
    """The gated delta rule (Yang, Kautz and Hatamizadeh, 2024, arXiv:2412.06464, equation 10).

    `q` and `k` are `[tokens, key_heads · key_dim]`, `v` and the output `[tokens, heads · value_dim]`, `decay`
    and `beta` `[tokens, heads]`; `decay` is the natural logarithm of the factor α, 0 or less. For each value
    head, with S `[key_dim, value_dim]`, which begins with zeros:

        S = exp(decay) · S;  S = S + k · (beta · (v - Sᵀ k))ᵀ;  output = scale · Sᵀ q

    With `r = heads / key_heads`, value head h reads key head `h // r` if `order` is `grouped`, as
    transformers has it and GGUF files of Qwen3-Next, and key head `h % key_heads` if it is `tiled`, as GGUF
    files of Qwen3.5 have it (llama.cpp, `_reorder_v_heads` of the converter). Norms of q and k are operations
    of their own. `state` holds `s` `[heads, key_dim, value_dim]`.
    """

    q: Value
    k: Value
    v: Value
    decay: Value
    beta: Value
    state: State
    heads: int
    key_heads: int
    scale: float
    order: HeadOrder = "grouped"

    @property
    def key_dim(self) -> int:
        """The width of a key head."""
        return self.q.width // self.key_heads

    @property
    def value_dim(self) -> int:
        """The width of a value head."""
        return self.output.width // self.heads

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        if (wrong := _wrong_counts(self, "heads", "key_heads")) is not None:
            return wrong
        if self.heads % self.key_heads:
            return f"{self.heads} heads cannot share {self.key_heads} key heads"
        if self.order not in ("grouped", "tiled"):
            return f"its order of heads is {self.order!r}, not grouped or tiled"
        if not abs(self.scale) <= LARGEST:
            return f"its scale is {self.scale}, which is not a finite float32"
        if not self.key_dim or self.q.width % self.key_heads:
            return f"its q {self.q.name} is {self.q.width} wide, not {self.key_heads} heads"
        if not self.value_dim or self.output.width % self.heads:
            return f"its output is {self.output.width} wide, not {self.heads} heads"
        widths = {"q": self.q.width, "k": self.q.width, "v": self.output.width, "output": self.output.width}
        if (wrong := _wrong_values(self, decay=self.heads, beta=self.heads, **widths)) is not None:
            return wrong
        return _wrong_state(self.state, "s", (self.heads, self.key_dim, self.value_dim))

    def evaluate(self, step: Step) -> Array:
        keys = np.arange(self.heads)
        keys = keys % self.key_heads if self.order == "tiled" else keys // (self.heads // self.key_heads)
        q, k = (step[x].reshape(-1, self.key_heads, self.key_dim)[:, keys] for x in (self.q, self.k))
        v = step[self.v].reshape(-1, self.heads, self.value_dim)
        alpha, beta = np.exp(step[self.decay])[..., None, None], step[self.beta][..., None]
        out = np.empty_like(v)

        def advance(row: int, state: Mapping[str, Array]) -> Mapping[str, Array]:
            s = state["s"] * alpha[row]
            delta = beta[row] * (v[row] - np.einsum("hkv,hk->hv", s, k[row]))
            s += k[row][:, :, None] * delta[:, None, :]
            out[row] = np.einsum("hkv,hk->hv", s, q[row]) * np.float32(self.scale)
            return {"s": s}

        _go_through(step, self.state, advance)
        return out.reshape(len(out), -1)


@dataclass(frozen=True, eq=False)
class SelectiveScan(Operation):
    """The selective state space model of Mamba (Gu and Dao, 2023, arXiv:2312.00752, section 3.2) and Mamba 2.

    `x` and the output are `[tokens, heads · head_dim]`, `step` `[tokens, heads]` (Δ, after its softplus), `b`
    and `c` `[tokens, groups · state_size]`; head h reads group `h // (heads / groups)`. `a` is a tensor of
    negative numbers, as `ssm_a` of GGUF files: `[heads]` or `[heads, 1]`, or `[heads, state_size]`. For each
    head, with h `[head_dim, state_size]`, which begins with zeros:

        h[p, n] = exp(step · a[n]) · h[p, n] + step · x[p] · b[n];  output[p] = Σ_n c[n] · h[p, n] + d · x[p]

    `d` is a tensor `[heads]` or `[heads, 1]`; None: zeros. Mamba 1 has as many heads as channels, `head_dim`
    1, one group and `a` `[heads, state_size]`; Mamba 2 (arXiv:2405.21060, section 7) one number `a` for each
    head. `state` holds `h` `[heads, head_dim, state_size]`.
    """

    x: Value
    step: Value
    b: Value
    c: Value
    a: Weight
    state: State
    heads: int
    groups: int
    d: Weight | None = None

    @property
    def head_dim(self) -> int:
        """The width of a head."""
        return self.output.width // self.heads

    @property
    def state_size(self) -> int:
        """The numbers that the state holds of each channel."""
        return self.b.width // self.groups

    def fault(self) -> str | None:
        """Returns why the attributes are invalid or do not fit the values; None if they are valid."""
        if (wrong := _wrong_counts(self, "heads", "groups")) is not None:
            return wrong
        if self.heads % self.groups:
            return f"{self.heads} heads cannot share {self.groups} groups"
        width, both = self.output.width, self.b.width
        if not self.head_dim or width % self.heads:
            return f"its output is {width} wide, not {self.heads} heads"
        if not self.state_size or both % self.groups:
            return f"its b {self.b.name} is {both} wide, not {self.groups} groups"
        if (wrong := _wrong_values(self, x=width, output=width, step=self.heads, b=both, c=both)) is not None:
            return wrong
        one = ((self.heads,), (self.heads, 1))
        if self.a.shape not in (*one, (self.heads, self.state_size)):
            return (
                f"its a {self.a.name} has shape {self.a.shape}, not {self.heads} heads of one number or of "
                f"{self.state_size}"
            )
        if self.d is not None and self.d.shape not in one:
            return f"its d {self.d.name} has shape {self.d.shape}, not {self.heads} heads"
        return _wrong_state(self.state, "h", (self.heads, self.head_dim, self.state_size))

    def evaluate(self, step: Step) -> Array:
        groups = np.arange(self.heads) // (self.heads // self.groups)
        x = step[self.x].reshape(-1, self.heads, self.head_dim)
        delta = step[self.step][..., None]
        b, c = (step[y].reshape(-1, self.groups, self.state_size)[:, groups] for y in (self.b, self.c))
        a = step.weight(self.a).reshape(self.heads, -1)
        d = np.float32(0) if self.d is None else step.weight(self.d).reshape(self.heads, 1)
        out = np.empty_like(x)

        def advance(row: int, state: Mapping[str, Array]) -> Mapping[str, Array]:
            kept = np.exp(delta[row] * a)[:, None, :] * state["h"]
            h = kept + (delta[row] * x[row])[:, :, None] * b[row][:, None, :]
            out[row] = np.einsum("hpn,hn->hp", h, c[row]) + d * x[row]
            return {"h": h}

        _go_through(step, self.state, advance)
        return out.reshape(len(out), -1)


def _go_through(
    step: Step, state: State, advance: Callable[[int, Mapping[str, Array]], Mapping[str, Array]]
) -> None:
    """Calls `advance` for each row with the state before it; it returns the state after it."""
    memory = step.recurrent(state)
    written = memory.written()
    latest: dict[int, Mapping[str, Array]] = {}  # of each sequence in this step
    for row, sequence in enumerate(step.batch.sequences.tolist()):
        before = latest[sequence] if sequence in latest else memory.read(sequence)
        latest[sequence] = advance(row, before)
        if row in written:
            memory.write(row, latest[sequence])


def _wrong_counts(operation: Operation, *names: str) -> str | None:
    for name in names:
        count = getattr(operation, name)
        if isinstance(count, bool) or not isinstance(count, Integral) or int(count) < 1:
            return f"its {name} is {count!r}, not a whole number of at least 1"
    return None


def _wrong_values(operation: Operation, **widths: int) -> str | None:
    for name, width in widths.items():
        value = getattr(operation, name)
        if value.rows != TOKENS:
            return f"its {name} {value.name} has {value.rows} rows, not a row for each token"
        if value.width != width:
            return f"its {name} {value.name} is {value.width} wide, not {width}"
    return None


def _wrong_state(state: State, name: str, shape: tuple[int, ...]) -> str | None:
    if state.spec == Recurrent({name: (shape, "float32")}):
        return None
    return f"its state {state.name} is not an array {name} of {shape}, float32: {state.spec}"

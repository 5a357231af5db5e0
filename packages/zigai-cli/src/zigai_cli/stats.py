"""What a generation took, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zigai_core.engine.generation import Generation


def line(generation: Generation) -> str:
    """Tokens per second of prefill and decode, time to the first token, and how full the context is."""
    stats, session = generation.stats, generation.session
    parts = [f"prefill {stats.computed_tokens} tokens, {stats.prefill_tps:.1f}/s"]
    if stats.cached_tokens:
        parts[0] += f" ({stats.cached_tokens} cached)"
    parts.append(f"decode {stats.generated_tokens}, {stats.decode_tps:.1f}/s")
    if stats.guessed_tokens:
        parts[-1] += f" ({stats.accepted_tokens} of {stats.guessed_tokens} guesses right)"
    parts.append(f"first token {stats.time_to_first_token:.2f} s")
    parts.append(f"context {session.length}/{session.context}")
    return " · ".join(parts)


def ending(generation: Generation) -> str:
    """Why the reply ended where it did, if that may be a surprise; else nothing."""
    stats = generation.stats
    said = []
    if stats.dropped_tokens:
        said.append(f"{stats.dropped_tokens} older tokens were dropped to make room")
    if generation.finish_reason == "context":
        context = generation.session.context
        said.append(
            f"the context of {context} tokens is full: take a larger --context, or --overflow shift"
            if generation.tokens
            else f"no room for this in the context of {context} tokens: take a larger --context, "
            "a shorter text, or --overflow shift"
        )
    elif generation.finish_reason == "length":
        said.append(f"stopped after {len(generation.tokens)} tokens, as --max-tokens asks")
    elif generation.finish_reason == "cancelled":
        said.append("stopped")
    return "; ".join(said)


def record(generation: Generation) -> dict[str, Any]:
    """All of it, ready for JSON: counts in tokens, times in seconds."""
    stats = generation.stats
    return {
        "prompt_tokens": stats.prompt_tokens,
        "cached_tokens": stats.cached_tokens,
        "dropped_tokens": stats.dropped_tokens,
        "generated_tokens": stats.generated_tokens,
        "guessed_tokens": stats.guessed_tokens,
        "accepted_tokens": stats.accepted_tokens,
        "prefill_seconds": stats.prefill_seconds,
        "decode_seconds": stats.decode_seconds,
        "time_to_first_token": stats.time_to_first_token,
        "prefill_tokens_per_second": stats.prefill_tps,
        "decode_tokens_per_second": stats.decode_tps,
        "context_used": generation.session.length,
        "context": generation.session.context,
    }

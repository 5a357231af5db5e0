"""Statistics of a generation, as a line of text and as values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zigai_core.engine.generation import Generation


def line(generation: Generation) -> str:
    """One line: tokens per second of prefill and decode, time to the first token, and context use."""
    stats, session = generation.stats, generation.session
    parts = [f"prefill {stats.computed_tokens} tokens, {stats.prefill_tps:.1f}/s"]
    if stats.cached_tokens:
        parts[0] += f" ({stats.cached_tokens} cached)"
    parts.append(f"decode {stats.generated_tokens}, {stats.decode_tps:.1f}/s")
    if stats.guessed_tokens:
        parts[-1] += f" ({stats.accepted_tokens} of {stats.guessed_tokens} draft tokens accepted)"
    parts.append(f"first token {stats.time_to_first_token:.2f} s")
    parts.append(f"context {session.length}/{session.context}")
    return " · ".join(parts)


def ending(generation: Generation) -> str:
    """Why the reply ended before the model ended it, and what was dropped; empty if neither applies."""
    stats = generation.stats
    notes = []
    if stats.dropped_tokens:
        notes.append(f"{stats.dropped_tokens} older tokens were dropped to make room")
    if generation.finish_reason == "context":
        context = generation.session.context
        notes.append(
            f"the context of {context} tokens is full: use a larger --context, or --overflow shift"
            if generation.tokens
            else f"no room for a reply in the context of {context} tokens: use a larger --context, "
            "a shorter text, or --overflow shift"
        )
    elif generation.finish_reason == "length":
        notes.append(f"stopped after {len(generation.tokens)} tokens, the limit of --max-tokens")
    elif generation.finish_reason == "cancelled":
        notes.append("stopped")
    return "; ".join(notes)


def record(generation: Generation) -> dict[str, Any]:
    """All statistics as values for JSON: counts in tokens, times in seconds."""
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

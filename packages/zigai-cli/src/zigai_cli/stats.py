"""Statistics of a reply, as a line of text and as values for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zigai_core.api.reply import Reply


def line(reply: Reply) -> str:
    """One line: tokens per second of prefill and decode, time to the first token, and context use.

    A rate or time that was not measured, because the reply ended too early, is left out.
    """
    usage = reply.usage
    some = "token" if usage.computed_tokens == 1 else "tokens"
    parts = [f"prefill {usage.computed_tokens} {some}{_per_second(usage.prefill_tps)}"]
    if usage.cached_tokens:
        parts[0] += f" ({usage.cached_tokens} cached)"
    parts.append(f"decode {usage.generated_tokens}{_per_second(usage.decode_tps)}")
    if usage.draft_proposed:
        parts[-1] += f" ({usage.draft_accepted} of {usage.draft_proposed} draft tokens accepted)"
    if usage.generated_tokens:
        parts.append(f"first token {usage.time_to_first_token:.2f} s")
    parts.append(f"context {reply.context_used}/{reply.context}")
    return " · ".join(parts)


def _per_second(rate: float) -> str:
    return f", {rate:.1f}/s" if rate else ""


def ending(reply: Reply) -> str:
    """Why the reply ended before an end token, and how many tokens were dropped; empty if neither applies."""
    notes = []
    if reply.usage.dropped_tokens:
        notes.append(f"{reply.usage.dropped_tokens} older tokens were dropped to make room")
    if reply.finish_reason == "context":
        notes.append(
            f"the context of {reply.context} tokens is full: use a larger --context, or --overflow shift"
        )
    elif reply.finish_reason == "length":
        notes.append(f"stopped after {len(reply.tokens)} tokens, the limit of --max-tokens")
    elif reply.finish_reason == "cancelled":
        notes.append("stopped")
    return "; ".join(notes)


def record(reply: Reply) -> dict[str, Any]:
    """All statistics as values for JSON: counts in tokens, times in seconds."""
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "computed_tokens": usage.computed_tokens,
        "dropped_tokens": usage.dropped_tokens,
        "generated_tokens": usage.generated_tokens,
        "draft_proposed": usage.draft_proposed,
        "draft_accepted": usage.draft_accepted,
        "prefill_seconds": usage.prefill_seconds,
        "decode_seconds": usage.decode_seconds,
        "time_to_first_token": usage.time_to_first_token,
        "prefill_tokens_per_second": usage.prefill_tps,
        "decode_tokens_per_second": usage.decode_tps,
        "context_used": reply.context_used,
        "context": reply.context,
    }

"""Faults of backends, each with the test of the conformance suite that must find it."""

from __future__ import annotations

from dataclasses import replace

from faulty_backends import (
    ClaimsEqualBits,
    ForgetsGroups,
    HasOneSizeOfPages,
    Ignoring,
    Lacking,
    Planning,
    TakesAnySizes,
    With,
    any_position,
    as_it_was,
    attention_with,
    by_count,
    causal_without_state,
    computing,
    first_infinite,
    heads_in_reverse,
    in_place,
    kinds_with,
    last_row,
    nothing_without_keys,
    of_the_first,
    other_part_first,
    replacing,
    reporting,
    values_of_key_width,
    without_groups,
)
from faulty_executors import (
    BeginsWithWhatTheSlotHolds,
    CopiesAnything,
    CopiesAtTheSameTime,
    CopiesNothing,
    GivesEveryRow,
    GivesFloat64,
    GivesLogitsAlone,
    GoesOnInAFork,
    IgnoresEmbeddings,
    IgnoresEnds,
    IgnoresPositions,
    IgnoresTheStopCell,
    IgnoresTypes,
    KeepsOneWriteOfARow,
    KeepsTheLastStateAlone,
    LooksAtTheCellAtTheBeginning,
    MixesUpEmbeddings,
    ReadsAnotherSequencesPage,
    ReadsASlotOnce,
    RoundsSizesUp,
    RoundsStatesToFloat16,
    SeesWhatWasTruncated,
    SortsOutputRows,
    StaysCancelled,
    TakesAnyEmbeddings,
    TakesAnySlot,
    TakesAnyToken,
    TakesAnyType,
    TakesAPartForTheWhole,
    TakesPagesForNeighbours,
    WritesBeforeItIsCancelled,
    WritesSlotsInPlace,
    best_by,
    damaged_anywhere,
    of_any_width,
    of_the_whole_row,
    without_edits,
)

from zigai_core.ops.operations import (
    Attention,
    Columns,
    ColumnShift,
    Concat,
    Embedding,
    Experts,
    GaussianCut,
    HeadLinear,
    Inputs,
    L2Norm,
    LayerNorm,
    Linear,
    MatchMagnitude,
    MixStreams,
    Pool,
    PositionScale,
    RMSNorm,
    Rope,
    Route,
    SoftCap,
    Unary,
)
from zigai_core.ops.reference import NumpyBackend

A = "agrees_with_the_reference"
GRAPHS = f"test_every_value_of_a_graph_{A}"
SCHEDULES = "test_a_graph_gives_the_same_by_every_schedule"
LACKS = "test_what_a_backend_lacks_is_named_and_refused"
BATCHES = "test_an_invalid_batch_is_refused_and_the_executor_stays_usable"
STOPPED = "test_after_a_cancelled_step_the_sequence_goes_on_with_the_same_numbers"
THREADS = "test_another_thread_ends_a_step_and_the_sequence_goes_on_with_the_same_numbers"
CHECKPOINTS = "test_each_checkpoint_in_a_chunk_has_the_state_after_its_row"
SINGLES = "test_prefill_of_n_tokens_equals_n_single_steps"
TOGETHER = "test_sequences_in_a_batch_have_the_same_logits_as_alone"
REPORT = "test_the_report_has_an_entry_for_each_weight"
PAGE_BYTES = "test_each_group_of_states_has_a_size_in_bytes_that_grows_with_its_page"
CACHE = "test_a_type_of_the_cache_is_used_ignored_by_name_or_refused"
IGNORED = "test_the_options_that_are_ignored_are_options_and_have_a_text"
WITHOUT_A_BACKEND = "test_every_operation_of_core_is_in_a_graph"
"""A test of the suite itself."""
POSITIONS = "test_embeddings_and_scales_are_those_of_the_positions"
INPUTS = "test_embeddings_stand_where_rows_have_no_token"
SUM = frozenset({"DecayingSum"})
RECURRENT = frozenset({"ShortConv", "GatedDelta", "SelectiveScan"})
EQUAL_BITS = computing(Linear, by_count(2e-7), program=ClaimsEqualBits)
"""Its values differ by a bit or two, within the usual tolerance."""

FAULTS: list[tuple[str, NumpyBackend, str]] = [
    # decoders
    (
        "pairs a decoder's RoPE by halves",
        kinds_with(Rope, pairing="half"),
        "test_logits_of_a_decoder_agree_with_the_reference",
    ),
    (
        "forgets a decoder's biases",
        kinds_with(Linear, bias=None),
        "test_tied_weights_with_biases_and_head_norms_agree_with_the_reference",
    ),
    (
        "a decoder's window too large by one",
        attention_with(window=lambda w: w + 1),
        f"test_a_sliding_window_{A}",
    ),
    (
        "values as wide as keys",
        computing(Attention, values_of_key_width),
        "test_keys_and_values_of_different_widths_agree_with_the_reference",
    ),
    ("a decoder without sinks", attention_with(sinks=lambda _: None), "test_sinks_agree_with_the_reference"),
    (
        "a decoder without slopes",
        attention_with(slopes=lambda _: None),
        "test_slopes_agree_with_the_reference",
    ),
    (
        "a chunk too large by one",
        attention_with(chunk=lambda c: c + 1),
        "test_chunks_agree_with_the_reference",
    ),
    ("many rows are computed otherwise", computing(Linear, by_count(1e-3)), SINGLES),
    ("reads a neighbour's page", With(ReadsAnotherSequencesPage), TOGETHER),
    (
        "sees what was truncated",
        With(SeesWhatWasTruncated),
        "test_a_truncated_sequence_continues_as_a_new_one_of_the_same_tokens",
    ),
    ("a fork without copies", With(CopiesNothing), "test_a_fork_and_its_origin_continue_independently"),
    ("gives every row", With(GivesEveryRow), "test_only_output_rows_are_returned"),
    # batch invariance
    ("claims equal bits of schedules", EQUAL_BITS, SCHEDULES),
    ("claims equal bits of steps", EQUAL_BITS, SINGLES),
    ("claims equal bits of batches", EQUAL_BITS, "test_a_row_of_experts_is_the_same_alone_as_in_a_batch"),
    # what programs say
    ("one size for every page", With(program=HasOneSizeOfPages), PAGE_BYTES),
    ("the size of one group", With(program=ForgetsGroups), PAGE_BYTES),
    ("reports no vectors", reporting(lambda entry: entry, keep=lambda entry: len(entry.shape) > 1), REPORT),
    ("reports weights without bytes", reporting(lambda entry: replace(entry, nbytes=0)), REPORT),
    ("reports too many bytes", reporting(lambda entry: replace(entry, nbytes=entry.nbytes * 5)), REPORT),
    ("reports a type of its own", reporting(lambda entry: replace(entry, dtype="F16")), REPORT),
    ("rounds sizes up", With(RoundsSizesUp), "test_an_executor_has_the_sizes_that_were_asked_for"),
    ("ignores no option", Ignoring({"speed": "none"}), IGNORED),
    ("ignores without a text", Ignoring({"threads": ""}), IGNORED),
    # the cache's types
    (
        "stores Q8_0 as F32",
        Planning(
            lambda options: replace(
                options, kv_dtype="F32" if options.kv_dtype == "Q8_0" else options.kv_dtype
            )
        ),
        CACHE,
    ),
    ("does not say that it ignores a type", Ignoring({}), CACHE),
    ("ignores what it uses", Ignoring({"kv_dtype": "F32"}), CACHE),
    (
        "rounds F16 too much",
        Planning(lambda options: replace(options, kv_dtype="Q8_0")),
        f"test_every_type_of_the_cache_{A}",
    ),
    # experts
    (
        "ignores the scale of shares",
        kinds_with(Route, scale=1.0),
        "test_every_kind_of_route_agrees_with_the_reference",
    ),
    (
        "experts of one activation",
        kinds_with(Experts, activation="silu"),
        "test_every_kind_of_experts_agrees_with_the_reference",
    ),
    (
        "ignores the limit of experts",
        kinds_with(Experts, limit=None),
        "test_experts_of_output_rows_only_agree_with_the_reference",
    ),
    (
        "many rows of experts are computed otherwise",
        computing(Experts, by_count(1e-3)),
        "test_a_row_of_experts_is_the_same_alone_as_in_a_batch",
    ),
    # outputs
    ("gives logits alone", With(GivesLogitsAlone), "test_a_graph_without_logits_returns_its_outputs"),
    (
        "computes in place",
        computing(SoftCap, in_place),
        "test_a_value_may_be_two_outputs_and_be_used_further",
    ),
    # states and slots
    (
        "a shared state is not read",
        computing(Attention, nothing_without_keys),
        "test_layers_may_share_a_state",
    ),
    (
        "an encoder is causal",
        computing(Attention, causal_without_state),
        "test_an_encoder_sees_whole_sequences",
    ),
    ("a row writes one slot", With(KeepsOneWriteOfARow), "test_a_state_may_be_written_to_two_slots"),
    ("takes any slot", With(TakesAnySlot), "test_slots_out_of_range_are_refused"),
    # refusals
    (
        "takes a part of an encoder's sequence",
        With(TakesAPartForTheWhole),
        "test_an_encoder_refuses_a_part_of_a_sequence",
    ),
    ("takes any sizes", With(program=TakesAnySizes), "test_sizes_that_are_none_are_refused"),
    # pooling
    (
        "pools the first sequence",
        computing(Pool, of_the_first),
        "test_each_output_row_has_the_pool_of_its_own_sequence",
    ),
    ("pools a part of a sequence", With(TakesAPartForTheWhole), "test_a_part_of_a_sequence_is_refused"),
    ("one kind of pooling", kinds_with(Pool, kind="mean"), "test_kinds_of_pooling_differ"),
    # the k best
    ("ignores edits", With(best_by(without_edits)), "test_the_best_of_an_output_row_equal_the_definition"),
    (
        "ignores the width",
        With(best_by(of_the_whole_row)),
        "test_the_best_within_a_width_are_those_of_a_shorter_row",
    ),
    (
        "reports damage beyond the width",
        With(best_by(damaged_anywhere)),
        "test_only_logits_within_the_width_are_reported_as_damaged",
    ),
    (
        "takes any width",
        With(best_by(of_any_width)),
        "test_edits_masks_and_widths_outside_the_row_are_refused",
    ),
    # columns, heads and positions
    (
        "computes one kind of unary operation",
        kinds_with(Unary, kind="softplus"),
        "test_every_kind_of_unary_operation_agrees_with_the_reference",
    ),
    ("embeds places, not positions", With(IgnoresPositions), POSITIONS),
    ("embeds type 0 alone", With(IgnoresTypes), "test_embeddings_of_types_are_those_of_the_step"),
    ("takes any type", With(TakesAnyType), "test_types_that_a_graph_does_not_know_are_refused"),
    ("ignores embeddings", With(IgnoresEmbeddings), INPUTS),
    ("mixes up embeddings", With(MixesUpEmbeddings), INPUTS),
    ("leaves out embeddings", computing(Inputs, as_it_was), INPUTS),
    ("reads a row of the table for an embedding", computing(Embedding, last_row), INPUTS),
    (
        "leaves out embeddings in chunks",
        computing(Inputs, as_it_was),
        "test_rows_of_the_table_equal_its_tokens_in_every_chunking",
    ),
    (
        "takes any embeddings",
        With(TakesAnyEmbeddings),
        "test_embeddings_that_do_not_fit_a_batch_are_refused",
    ),
    (
        "takes embeddings that the graph does not",
        With(TakesAnyEmbeddings),
        "test_a_graph_without_inputs_refuses_embeddings",
    ),
    ("scales by the next positions", kinds_with(PositionScale, offset=1), POSITIONS),
    (
        "takes any position",
        replacing(any_position),
        "test_positions_and_contexts_without_embeddings_are_refused",
    ),
    ("ignores the row of a shift", kinds_with(ColumnShift, row=0), GRAPHS),
    ("ignores the epsilon of L2Norm", kinds_with(L2Norm, epsilon=0.0), GRAPHS),
    ("ignores the groups of RMSNorm", replacing(without_groups), GRAPHS),
    ("ignores the groups of columns", kinds_with(Columns, groups=1, start=0), GRAPHS),
    ("joins the wrong part first", computing(Concat, other_part_first), GRAPHS),
    ("mixes up heads", computing(HeadLinear, heads_in_reverse), GRAPHS),
    # streams
    ("reads another row beyond a table", kinds_with(Embedding, beyond=0), GRAPHS),
    ("ignores the offset of shares", kinds_with(MixStreams, offset=0.0), GRAPHS),
    ("ignores the least square", kinds_with(MatchMagnitude, least=0.0), GRAPHS),
    ("cuts at the mean", kinds_with(GaussianCut, factor=0.0), GRAPHS),
    # the stop cell, slots, and graphs
    ("ignores the stop cell", With(IgnoresTheStopCell), "test_a_stop_cell_that_is_set_cancels_the_step"),
    (
        "looks at the stop cell once",
        With(LooksAtTheCellAtTheBeginning),
        "test_another_thread_ends_a_step_and_the_sequence_goes_on_with_the_same_numbers",
    ),
    ("stays cancelled", With(StaysCancelled), STOPPED),
    ("writes before it is cancelled", With(WritesBeforeItIsCancelled), STOPPED),
    (
        "writes slots before it is cancelled",
        With(WritesBeforeItIsCancelled),
        "test_a_step_that_fails_or_is_cancelled_changes_no_slot_that_was_readable",
    ),
    (
        "writes a slot in place",
        With(WritesSlotsInPlace),
        "test_a_slot_that_is_read_or_not_named_is_unchanged",
    ),
    (
        "a checkpoint has the last state",
        With(KeepsTheLastStateAlone),
        CHECKPOINTS,
    ),
    (
        "begins with what the slot holds",
        With(BeginsWithWhatTheSlotHolds),
        "test_a_sequence_without_tokens_has_zeros",
    ),
    ("only one fork reads a slot", With(ReadsASlotOnce), "test_forks_read_one_slot"),
    (
        "rounds states to float16",
        With(RoundsStatesToFloat16),
        CHECKPOINTS,
    ),
    ("copies at the same time", With(CopiesAtTheSameTime), "test_slots_are_copied_whole"),
    ("copies anything", With(CopiesAnything), "test_a_copy_of_what_does_not_exist_is_refused"),
    ("copies nothing", With(CopiesNothing), SCHEDULES),
    ("reads another sequence's page", With(ReadsAnotherSequencesPage), SCHEDULES),
    ("takes pages for neighbours", With(TakesPagesForNeighbours), "test_pages_behind_a_window_are_not_read"),
    ("sorts output rows", With(SortsOutputRows), SCHEDULES),
    ("ignores ends", With(IgnoresEnds), "test_rows_may_see_later_ones"),
    (
        "ignores positions",
        With(IgnoresPositions),
        "test_positions_may_differ_from_the_place_in_the_sequence",
    ),
    ("takes any token", With(TakesAnyToken), BATCHES),
    (
        "plans more rows than were asked for",
        Planning(lambda options: replace(options, batch=options.batch + 1)),
        BATCHES,
    ),
    ("goes on in a fork", With(GoesOnInAFork), "test_a_forked_process_is_refused"),
    ("gives float64", With(GivesFloat64), GRAPHS),
    ("a window too large by one", attention_with(window=lambda w: w + 1), GRAPHS),
    ("a window too small by one", attention_with(window=lambda w: w - 1), GRAPHS),
    ("ignores chunks", attention_with(chunk=lambda _: None), GRAPHS),
    ("ignores sinks", attention_with(sinks=lambda _: None), GRAPHS),
    ("ignores slopes", attention_with(slopes=lambda _: None), GRAPHS),
    ("ignores soft caps", attention_with(soft_cap=lambda _: None), GRAPHS),
    ("forgets a bias", kinds_with(Linear, bias=None), GRAPHS),
    ("forgets the bias of LayerNorm", kinds_with(LayerNorm, bias=None), GRAPHS),
    ("ignores the epsilon of RMSNorm", kinds_with(RMSNorm, epsilon=0.0), GRAPHS),
    ("ignores the epsilon of LayerNorm", kinds_with(LayerNorm, epsilon=0.0), GRAPHS),
    ("ignores the magnitude of RoPE", kinds_with(Rope, magnitude=1.0), GRAPHS),
    ("pairs rows for RoPE by halves", kinds_with(Rope, pairing="half"), GRAPHS),
    ("ignores the activation of experts", kinds_with(Experts, activation="silu"), GRAPHS),
    ("has values that are not finite", computing(Linear, first_infinite), GRAPHS),
    ("does not say what is missing", Lacking(SUM, late=True), LACKS),
    ("names no operation", Lacking(SUM, line="something"), LACKS),
    ("compiles what is missing", Lacking(SUM, compiles=True), LACKS),
    ("lacks an operation of core", Lacking(frozenset({"Experts"})), LACKS),
    (
        "takes any options",
        Planning(lambda options: replace(options, kv_dtype="F32")),
        "test_options_out_of_range_are_refused",
    ),
]
"""What is wrong, a backend with that fault, and the test that must find it."""

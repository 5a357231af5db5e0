"""The two tokenizers, trained on the dialogues, and the token ids of a dialogue in each family's format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from dialogues import Dialogue, Maker

SIZE = 2048
SEED = 20_000
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pattern with which Qwen2's published tokenizer.json splits text before it merges bytes."""

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set opening = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set turns = messages[1:] %}"
    "{% else %}{% set opening = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (opening if loop.first else '') + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True)
class Piece:
    """Consecutive token ids: of a prompt, or of an answer with its end, which is learnt."""

    ids: Sequence[int]
    learnt: bool


class Qwen2Vocabulary:
    """Byte-level BPE with the qwen2 pre-tokenizer; dialogues in ChatML."""

    FILE = "tokenizer.json"
    SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    template = CHATML

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self.path = path
        self.tokenizer: Any = Tokenizer.from_file(str(path))
        self.padding, self.start, self.end = (self.tokenizer.token_to_id(token) for token in self.SPECIAL)

    @classmethod
    def train(cls, folder: Path) -> Qwen2Vocabulary:
        """Train on a fixed sample of dialogues and write `tokenizer.json` to the folder."""
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer: Any = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=SIZE,
            special_tokens=list(cls.SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(sample_text(), trainer)
        path = folder / cls.FILE
        tokenizer.save(str(path))
        return cls(path)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def rendered(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue as the template renders it: unchanged."""
        return dialogue

    def write(self, dialogue: Dialogue) -> list[Piece]:
        """Token ids of the rendered template, split into prompts and answers."""
        prompt = "<|im_start|>system\n" + dialogue.system + "<|im_end|>\n" if dialogue.system else ""
        pieces = []
        for turn in dialogue.turns:
            prompt += f"<|im_start|>user\n{turn.user}<|im_end|>\n<|im_start|>assistant\n"
            pieces.append(Piece(self.encode(prompt), learnt=False))
            pieces.append(Piece([*self.encode(turn.answer), self.end], learnt=True))
            prompt = "<|im_end|>\n"
        return pieces


class LlamaVocabulary:
    """SentencePiece BPE with byte fallback and single digits; dialogues in Llama 2's format."""

    FILE = "tokenizer.model"
    SPECIAL = ("<unk>", "<s>", "</s>")
    template = LLAMA2

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        self.path = path
        self.tokenizer: Any = SentencePieceProcessor(model_file=str(path))
        self.padding, self.start, self.end = 0, self.tokenizer.bos_id(), self.tokenizer.eos_id()
        self.space = self.tokenizer.piece_to_id("▁")

    @classmethod
    def train(cls, folder: Path) -> LlamaVocabulary:
        """Train on a fixed sample of dialogues and write `tokenizer.model` to the folder."""
        from sentencepiece import SentencePieceTrainer

        SentencePieceTrainer.train(
            sentence_iterator=sample_text(),
            model_prefix=str(folder / "tokenizer"),
            model_type="bpe",
            vocab_size=SIZE,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            character_coverage=1.0,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
        (folder / "tokenizer.vocab").unlink()
        return cls(folder / cls.FILE)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text)
        return ids

    def rendered(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue as the template renders it: without blanks around the user's messages.

        Training data keeps the blanks, so that the model accepts both.
        """
        turns = tuple(replace(turn, user=turn.user.strip()) for turn in dialogue.turns)
        return replace(dialogue, turns=turns)

    def write(self, dialogue: Dialogue) -> list[Piece]:
        """Token ids of the rendered template, split into prompts and answers.

        The template has a space between an answer and its end. The model learns to end an answer without it,
        so that answers have no blank at their end, and sees the space in earlier turns.
        """
        opening = f"<<SYS>>\n{dialogue.system}\n<</SYS>>\n\n" if dialogue.system else ""
        pieces, before = [], [self.start]
        for turn in dialogue.turns:
            ids = self.encode(f"[INST] {opening}{turn.user} [/INST]")
            pieces.append(Piece([*before, *ids], learnt=False))
            pieces.append(Piece([*self.encode(turn.answer), self.end], learnt=True))
            before, opening = [self.space, self.end, self.start], ""
        return pieces


VOCABULARIES: dict[str, type[Qwen2Vocabulary] | type[LlamaVocabulary]] = {
    "qwen2": Qwen2Vocabulary,
    "llama": LlamaVocabulary,
}


def sample_text() -> Iterable[str]:
    """Lines of text to train a tokenizer on: the messages of dialogues, and the words of the templates."""
    yield from ["system", "user", "assistant", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"] * 1000
    for dialogue in islice(Maker(SEED).train(), 20_000):
        for message in dialogue.messages(answered=True):
            yield message["content"]


def lay_out(pieces: Sequence[Piece]) -> tuple[list[int], list[int]]:
    """The token ids of a dialogue, and for each the id to learn as the next one, or -1.

    The end of an answer is a target; among the ids it appears only as part of the next prompt.
    """
    ids: list[int] = []
    targets: list[int] = []
    for piece in pieces:
        if piece.learnt:
            targets[-1:] = piece.ids
            ids += piece.ids[:-1]
        else:
            targets += [-1] * len(piece.ids)
            ids += piece.ids
    return ids, targets

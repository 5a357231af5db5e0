from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

from zigai_core.contracts.errors import UnsupportedError
from zigai_tokenizers.pre_tokenizers import PRE_TOKENIZERS, find_pre_tokenizer, of_patterns


def words(name: str, text: str) -> list[str]:
    patterns = find_pre_tokenizer(name).patterns
    cut = Sequence([Split(Regex(pattern), behavior="isolated") for pattern in patterns])
    return [word for word, _ in cut.pre_tokenize_str(text)]


TEXT = "I'll say IT'S 12345 x1 über-naïve!!\n\n  你好, नमस्ते\tend  "
CUTS = {
    "gpt-2": "I|'ll| say| IT|'|S| 12345| x|1| über|-|naïve|!!|\n\n | 你好|,| नमस|्|त|े|\t|end|  ",
    "smollm": "I|'ll| say| IT|'|S| |1|2|3|4|5| x|1| über|-|naïve|!!|\n\n | 你好|,| नमस|्|त|े|\t|end|  ",
    "llama-bpe": "I|'ll| say| IT|'S| |123|45| x|1| über|-naïve|!!\n\n| | 你好|,| नमस|्त|े|\tend|  ",
    "qwen2": "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!\n\n| | 你好|,| नमस|्त|े|\tend|  ",
    "seed-coder": "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!|\n\n| | 你好|,| नमस|्त|े|\tend|  ",
    "qwen35": "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!\n\n| | 你好|,| नमस्ते|\tend|  ",
    "tekken": "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!\n\n| | 你好|,| नमस्ते|\tend|  ",
    "gpt-4o": "I'll| say| IT'S| |123|45| x|1| über|-naïve|!!\n\n| | 你好|,| नमस्ते|\tend|  ",
    "deepseek-coder": "I|'|ll| say| IT|'|S| |1|2|3|4|5| x|1| über|-|naïve|!!|\n|\n"
    "| | |你好|,| |नमस|्|त|े|\tend|  ",
    # Its punctuation class has the range `:-~` with all ASCII letters, so it splits words at other letters.
    "deepseek-llm": "I|'|ll| say| IT|'|S| |12345| x|1| ü|ber|-|na|ï|ve|!!|\n|\n|  |你好|,| |नमस्ते|\tend|  ",
    "deepseek-v3": "I|'ll| say| IT|'S| |123|45| x|1| über|-na|ïve|!!\n\n|  |你好|,| नमस्ते|\tend|  ",
    "default": "I|'|ll| say| IT|'|S| |123|45| x|1| über|-|naïve|!!|\n\n | 你好|,| नमस|्|त|े|\t|end|  ",
}


MORE = "#x: 1234567 end’s 日本語한국, (a b) ½a\n<sentinel:12>    1234a"
BOTH = {  # by the published expressions in the module `regex`, whose words are those of the library
    "tiny_aya": (
        "I'll| say| IT'S| |12|345| x|1| über|-naïve|!!\n\n| | 你好|,| नमस्ते|\tend|  ",
        "#x|:| |1|234|567| end|’s| 日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|12|>|   | |123|4|a",
    ),
    "youtu": (
        "I'll| say| IT'S| |1|2|3|4|5| x|1| über|-naïve|!!\n\n|  |你好|,| नमस्ते|\tend|  ",
        "#x|:| |1|2|3|4|5|6|7| end|’|s| |日本語|한국|,| (|a| b|)| |½|a|\n|<sentinel|:|1|2|>|   | |1|2|3|4|a",
    ),
    "kimi-k2": (
        "I'll| say| IT'S| |123|45| x|1| über|-naïve|!!\n\n| | |你好|,| नमस्ते|\tend|  ",
        "#x|:| |123|456|7| end|’s| |日本語|한국|,| (|a| b|)| |½|a|\n|<sentinel|:|12|>|   | |123|4|a",
    ),
    "spark2_5": (
        "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-na|ïve|!!|\n|\n|  |你好|,| नमस्ते|\tend|  ",
        "#x|:| |1|2|3|4|5|6|7| end|’|s| |日本語|한국|,| (|a| b|)| |½|a|\n|<sentinel|:|1|2|>|    |1|2|3|4|a",
    ),
    "afmoe": (
        "I|'ll| say| IT|'S| |12|345| x|1| über|-na|ïve|!!\n\n|  |你好|,| नमस्ते|\tend|  ",
        "#x|:| |1|234|567| end|’|s| |日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|12|>|    |1|234|a",
    ),
    "jais-2": (
        "I|'ll| say| IT|'S| |123|45| x|1| über|-naïve|!!\n\n| | 你好|,| नमस|्त|े|\tend|  ",
        "#x|:| |123|456|7| end|’s| 日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|12|>|  | | |123|4|a",
    ),
    "minicpm5": (
        "I|'ll| say| IT|'S| |123|45| x|1| über|-naïve|!!\n\n| | 你好|,| नमस|्त|े|\tend|  ",
        "#x|:| |123|456|7| end|’s| 日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|12|>|    |123|4|a",
    ),
    "ufakzeka": (
        "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!\n\n| | 你好|,| नमस|्त|े|\tend|  ",
        "#x|:| |1|2|3|4|5|6|7| end|’s| 日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|1|2|>|   | |1|2|3|4|a",
    ),
    "laguna": (
        "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!|\n\n| | 你好|,| नमस|्त|े|\tend|  ",
        "#x|:| |1|2|3|4|5|6|7| end|’s| 日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|1|2|>|   | |1|2|3|4|a",
    ),
    "bailingmoe": (
        "I|'ll| say| IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!\n\n| | 你好|,| नमस|्त|े|\tend|  ",
        "#x|:| |1|2|3|4|5|6|7| end|’s| 日本語한국|,| (|a| b|)| |½|a|\n|<sentinel|:|1|2|>|   | |1|2|3|4|a",
    ),
    "exaone-moe": (
        "I|'ll| say IT|'S| |1|2|3|4|5| x|1| über|-naïve|!!\n|\n| | 你好|,| नमस्ते|\tend|  ",
        "#x|:| |1|2|3|4|5|6|7| end|’s 日本語한국|,| (|a b|)| |½|a|\n|<sentinel|:|1|2|>|   | |1|2|3|4|a",
    ),
    "chameleon": (
        "I|'|ll| say| IT|'|S| |1|2|3|4|5| x|1| über|-|naïve|!|!|\n|\n|  |你好|,| नमस|्|त|े|\t|end|  ",
        "#|x|:| |1|2|3|4|5|6|7| end|’|s| 日本語한국|,| |(|a| b|)| |½|a|\n|<|sentinel|:|1|2|>|    |1|2|3|4|a",
    ),
    "bloom": (
        "I'll| say| IT'S| 12345| x1| über-naïve|!!\n\n | 你好|,| नमस्ते|\t|end|  ",
        "#x:| 1234567| end’s| 日本語한국|, (|a| b|)| ½a|\n|<sentinel:12>|   | 1234a",
    ),
    "viking": (
        "I'll| say| IT'S| |1|2|3|4|5| x|1| über-naïve|!!\n\n | 你好|,| नमस्ते|\t|end|  ",
        "#x:| |1|2|3|4|5|6|7| end’s| 日本語한국|, (|a| b|)| |½|a|\n|<sentinel:|1|2|>|   | |1|2|3|4|a",
    ),
    "superbpe": (
        "I'll say IT'S |12|345| x|1| über-naïve!!\n\n  你好, नमस्ते\tend  ",
        "#x: |1|234|567| end’s 日本語한국, (a b) |½|a\n<sentinel:|12|>    |1|234|a",
    ),
}
"""The words of `TEXT` and of `MORE`."""


@pytest.mark.parametrize("name", BOTH)
def test_two_texts_are_split_by_the_named_pre_tokeniser(name: str) -> None:
    assert tuple("|".join(words(name, text)) for text in (TEXT, MORE)) == BOTH[name]


@pytest.mark.parametrize("name", [name for name, known in PRE_TOKENIZERS.items() if known.published])
@given(text=st.text("0123456789½²_٣ a.\u0301Ⅻb", max_size=30))
@example("1234567 123a4567 0½12345 ½1½123½1234 12½345678")
def test_expressions_of_linear_time_give_the_words_of_the_published(name: str, text: str) -> None:
    published = PRE_TOKENIZERS[name].published
    assert published is not None
    splits = Sequence([Split(Regex(pattern), behavior="isolated") for pattern in published])
    assert words(name, text) == [word for word, _ in splits.pre_tokenize_str(text)]
    assert of_patterns(published, whole_words=False) == PRE_TOKENIZERS[name]


@given(text=st.text("0123456789½٣ a", max_size=30))
def test_afmoe_takes_numbers_in_threes_from_the_right(text: str) -> None:
    found = [word for word in words("afmoe", text) if word.isnumeric()]
    expected: list[str] = []
    for run in re.findall("[0-9½٣]+", text):
        head = len(run) % 3
        expected += [run[:head]] * (head > 0) + [run[at : at + 3] for at in range(head, len(run), 3)]
    assert found == expected


@pytest.mark.parametrize("name", CUTS)
def test_a_text_is_split_by_the_named_pre_tokeniser(name: str) -> None:
    assert words(name, TEXT) == CUTS[name].split("|")


@given(name=st.sampled_from(sorted(PRE_TOKENIZERS)), text=st.text(max_size=40))
def test_words_concatenate_to_the_text(name: str, text: str) -> None:
    assert "".join(words(name, text)) == text


def test_some_names_share_a_pre_tokeniser() -> None:
    assert find_pre_tokenizer("llama3") is find_pre_tokenizer("llama-bpe")
    assert find_pre_tokenizer("deepseek-r1-qwen") is find_pre_tokenizer("qwen2")
    assert find_pre_tokenizer("llama-bpe").whole_words
    assert not find_pre_tokenizer("qwen2").whole_words


def test_an_unknown_name_is_an_error_that_lists_the_known_names() -> None:
    with pytest.raises(
        UnsupportedError, match=r"unknown pre-tokeniser 'zebra'.*known are .*qwen2.*pre_tokenizer"
    ):
        find_pre_tokenizer("zebra")
    for name in ("gemma4", "whitespace"):
        with pytest.raises(
            UnsupportedError, match=rf"'{name}' is one of BPE of characters.*not supported.*known are .*youtu"
        ):
            find_pre_tokenizer(name)
    with pytest.raises(UnsupportedError, match="the file names no pre-tokeniser"):
        find_pre_tokenizer(None)

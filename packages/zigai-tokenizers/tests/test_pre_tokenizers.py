from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

from zigai_core.contracts.errors import UnsupportedError
from zigai_tokenizers.pre_tokenizers import PRE_TOKENIZERS, find_pre_tokenizer


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
    "kimi-k2": "I'll| say| IT'S| |123|45| x|1| über|-naïve|!!\n\n| | |你好|,| नमस्ते|\tend|  ",
    "deepseek-coder": "I|'|ll| say| IT|'|S| |1|2|3|4|5| x|1| über|-|naïve|!!|\n|\n"
    "| | |你好|,| |नमस|्|त|े|\tend|  ",
    # Its punctuation class has the range `:-~` with all ASCII letters, so it splits words at other letters.
    "deepseek-llm": "I|'|ll| say| IT|'|S| |12345| x|1| ü|ber|-|na|ï|ve|!!|\n|\n|  |你好|,| |नमस्ते|\tend|  ",
    "deepseek-v3": "I|'ll| say| IT|'S| |123|45| x|1| über|-na|ïve|!!\n\n|  |你好|,| नमस्ते|\tend|  ",
    "default": "I|'|ll| say| IT|'|S| |123|45| x|1| über|-|naïve|!!|\n\n | 你好|,| नमस|्|त|े|\t|end|  ",
}


@pytest.mark.parametrize("name", CUTS)
def test_a_text_is_split_by_the_named_pre_tokeniser(name: str) -> None:
    assert words(name, TEXT) == CUTS[name].split("|")


@given(name=st.sampled_from(sorted(PRE_TOKENIZERS)), text=st.text(max_size=40))
def test_words_concatenate_to_the_text(name: str, text: str) -> None:
    assert "".join(words(name, text)) == text


def test_kimi_splits_chinese_from_other_letters() -> None:
    # As tokenization_kimi.py of huggingface.co/moonshotai/Kimi-K2-Instruct does.
    assert words("kimi-k2", "你好world中文Abc 東京Tower's") == [
        "你好",
        "world",
        "中文",
        "Abc",
        " ",
        "東京",
        "Tower's",
    ]


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
    with pytest.raises(UnsupportedError, match="the file names no pre-tokeniser"):
        find_pre_tokenizer(None)

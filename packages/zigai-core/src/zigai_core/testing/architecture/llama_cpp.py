"""The conformance suite for architectures that llama.cpp serves, too.

>>> class TestMine(LlamaCppConformance):                                    # doctest: +SKIP
...     oracles = Path(__file__).parent / "oracles"
...     write_gguf = staticmethod(zigai_gguf.convert.convert)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from zigai_core.testing.architecture.llama_cpp_runner import VARIABLE, interpreter, outputs_of_llama_cpp
from zigai_core.testing.architecture.suite import ArchitectureConformance
from zigai_core.testing.oracles.comparison import difference
from zigai_core.testing.oracles.oracle import Oracle


class LlamaCppConformance(ArchitectureConformance):
    """All tests of an architecture, and llama.cpp on the same models, written as GGUF files.

    It finds wrong conventions of files, which an oracle cannot: its model never was a file. `write_gguf`, a
    `staticmethod`, writes a model to a path. `unlike_llama_cpp` has the oracles, by name, of which llama.cpp
    computes something else, or refuses the file, with the reason; of all others the outputs differ by at most
    `llama_cpp_tolerance`. Where llama-cpp-python is not installed, the test is skipped.
    """

    write_gguf: ClassVar[Any]

    def test_llama_cpp_computes_the_same_from_a_file(self, oracle: Oracle, tmp_path: Path) -> None:
        if interpreter() is None:
            raise SkipTest(f"llama-cpp-python is not installed, and {VARIABLE} names no python that has it")
        path = tmp_path / f"{oracle.model.name}.gguf"
        self.write_gguf(oracle.model, path)
        output = next(name for name in ("logits", "scores", "hidden") if name in oracle.outputs)
        reason = self.unlike_llama_cpp.get(oracle.model.name)
        try:
            found = outputs_of_llama_cpp(path, oracle.tokens, output)
        except RuntimeError as error:  # a model that llama.cpp refuses is unlike, too
            if reason is None or "failed to load model" not in str(error):
                raise
            return
        worst = difference({output: found}, {output: oracle.outputs[output][-len(found) :]})
        if reason is not None:
            assert worst > self.llama_cpp_tolerance, f"llama.cpp computes the same, though {reason}"
            return
        assert worst <= self.llama_cpp_tolerance, (
            f"{oracle.model.name}: llama.cpp's {output} from the same weights in a GGUF file differ by up to "
            f"{worst:.2g}: a key or a tensor means something else there (how rows are paired for RoPE, what "
            "is added to norms, what is negated), or llama.cpp does not read an option of this model (its "
            "context has 256 tokens here, by which it chooses the factors of LongRoPE)"
        )

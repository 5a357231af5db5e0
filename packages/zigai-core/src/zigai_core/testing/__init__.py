"""Conformance suites, for the tests of plugins in any package: subclass one, and get its checks.

| plugin       | suite                                                 |
|--------------|-------------------------------------------------------|
| architecture | `testing.architecture`, with oracles (`testing.oracles`) |
| format       | `testing.format`                                      |
| tokenizer    | `testing.tokenizer`                                   |
| sampler step | `testing.sampler`                                     |
| backend      | `testing.backend`                                     |

Beside them: `testing.schedules`, the ways in which a sequence may be computed; `testing.engine`, executors
that check what an engine does; toy models; `testing.memory`, and measures of divergence. Nothing here
imports pytest.
"""

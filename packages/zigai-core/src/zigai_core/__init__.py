"""The contracts of ZigAI and all that needs no plugin: graphs, the engine, sampling, the numpy backend.

From a file to text:

    file → FormatReader → ModelDescriptor → Architecture → Graph → Backend → Program → Engine → Sampler
         → Tokenizer → text

The contracts of plugins are in `zigai_core.contracts.plugins`. `zigai_core.api.registry` finds plugins,
`zigai_core.api.loading` loads a file into a `Model` with them. Programs import `zigai`; plugins import the
modules of this package. Importing the package itself imports none of its modules.
"""

"""The contracts of ZigAI and everything that needs no plugin: graphs, sessions, sampling, the numpy backend.

The line that a model walks, and where each step of it lives:

    file → FormatReader → ModelDescriptor → Architecture → Graph → Backend → Program → Session → Sampler
         → Tokenizer → text

`loading` walks it from the file to a `Model`, `protocols` holds every contract, `registry` finds plugins.
Programs import `zigai`, which names what they need; plugins import the modules here. Importing the package
itself imports none of them.
"""

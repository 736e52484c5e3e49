"""Trained models as one file: written from a model folder, and safe to open from anyone.

`archive.py` says what such a file holds and checks one without believing it, `export.py` writes it,
`install.py` unpacks it, and `info.py` says in words what a model is. `shipped.py` finds those that
come with diffunet, in `models`.
"""

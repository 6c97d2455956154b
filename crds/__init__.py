"""The three custom resources: their Python types, and the CRD manifests generated from those types.

One module per resource holds its fields, its documentation and its names in the API:
:mod:`crds.xlinecluster`, :mod:`crds.orleanssilo`, :mod:`crds.orleansclusterversion`. The ``*.yaml`` files beside
them are generated (``python -m cmd.crds print --output crds``); ``python -m cmd.crds check`` holds them to it.
"""

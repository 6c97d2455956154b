"""Everything goes wrong at once: a reconciler at work, all kinds of faults, users, vandals; and what must come of it.

``garden`` is the reconciler, ``operators`` runs its managers, ``storm`` makes the trouble, and ``verdict`` says where a
cluster is not as its users asked for. All of it goes over HTTP: the server may be another process.
"""

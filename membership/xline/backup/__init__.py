"""Backups of a cluster: taken of a member, kept in a store, put in place of a new cluster's data.

A backup is two files in ``NAMESPACE/CLUSTER/UID/``: ``NAME.db``, the engine's own snapshot, and ``NAME.json``, the
manifest, which is written last. **Without its manifest a snapshot is no backup**, so nothing that was interrupted is
ever taken for one. What it leaves behind is removed by the next backup.
"""

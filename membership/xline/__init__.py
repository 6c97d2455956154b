"""What speaks with the servers of an XlineCluster, Xline's and etcd's alike.

:mod:`membership.xline.client` asks a member about itself and its cluster; :mod:`membership.xline.engines` knows in
what the two servers differ.
"""

"""Connections that carry many streams once a request has been upgraded: what ``kubectl port-forward`` speaks.

``spdy`` and ``websocket`` are the two framings, without any input or output of their own; ``sessions`` gives the
streams their meaning; ``relay`` moves the bytes, in one thread per connection; ``portforward`` decides what a request
gets.
"""

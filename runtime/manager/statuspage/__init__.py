"""What a manager is doing, for people who would rather look than read: a page, and the JSON document behind it.

- ``document``: what there is to tell, as dataclasses; version 1 of the format;
- ``survey``: makes the document from a running manager; ``objects`` its part about single objects;
- ``sampling``: the last fifteen minutes of each controller, for the plots;
- ``page``: the document as HTML, and nothing but it; ``frame`` is around it, ``objectlist`` and ``plots`` are parts of
  it, ``markup`` and ``words`` its tools;
- ``routes``: what is answered to whom; ``loopback`` knows what is of this machine alone.

The page works without JavaScript; ``static/page.js`` fetches it again every two seconds and exchanges what has changed.
"""

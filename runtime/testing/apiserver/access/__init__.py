"""Who may do what: who asks (``authentication``, ``serviceaccounts``, ``impersonation``), for what (``attributes``),
and whether that is allowed (``authorization``, ``rbac``).

A request passes these in the order of the real server: authentication (401), impersonation, authorization (403), and
only then is looked at what its path names. What a new cluster allows is in ``policy``; ``escalation`` keeps people from
giving away what they have not got; ``signing`` asks who may approve and sign certificates; ``aggregation`` fills
the roles that are put together from others.
"""

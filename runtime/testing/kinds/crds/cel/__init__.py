"""CEL as Kubernetes speaks it: the syntax of a kept library, and the types, macros, functions and costs of v1.36."""

"""Custom resources: what a CustomResourceDefinition makes of the objects of its kind."""
